"""
Covariates that are known in advance
====================================

Bikes hired in Washington, hour by hour. On working days people ride to work and back; on other
days they ride for fun. So it helps to know what kind of day tomorrow is.
"""

import matplotlib.pyplot as plt
import numpy as np

from titans_ts import SeasonalNaiveForecaster, TitansForecaster
from titans_ts.datasets import load_bike_sharing

# %%
# The data
# --------
#
# Two years that come with the package. The roles of their columns are part of the data set.

bikes = load_bike_sharing()
print("known in advance:", bikes.roles["future_covariates"])
print("known afterwards:", bikes.roles["past_covariates"])

# %%
# From what is known in advance we make one covariate: a category for each hour of working days,
# and one for each hour of days off. Text is read as categories, and the model learns a vector for
# each of them.

kind = np.where(bikes.frame["workingday"] == 1, "work", "off")
hour = bikes.frame.index.strftime("%H:00")
frame = bikes.frame[["users"]].assign(rhythm=kind + " " + hour)
frame.iloc[[8, 80]]

# %%
# Two forecasters
# ---------------
#
# We stand at the end of 3 July 2012. Tomorrow is Independence Day, a Wednesday. The baseline
# repeats the last week; ours is told about the day to come. Six months are enough to learn from
# here, so that this page is built quickly.

HORIZON = 24

known, later = frame["2012-01-01":"2012-07-03"], frame["2012-07-04":"2012-07-24"]

naive = SeasonalNaiveForecaster(horizon=HORIZON, season_length=168, target="users").fit(known)
titans = TitansForecaster(
    horizon=HORIZON,
    context_length=168,
    future_covariates="rhythm",
    quantiles=(0.1, 0.5, 0.9),
    max_epochs=3,
    batch_size=32,
    learning_rate=5e-3,
    random_state=0,
).fit(known)

# %%
# The rows of tomorrow
# --------------------
#
# ``make_future_dataframe`` gives the rows that a forecast is about. Their covariates are looked up
# in the plan, which is the table itself here.

future = titans.make_future_dataframe().join(frame["rhythm"])
future.head(3)

# %%
# A plan that is too short is refused when it is used, and the steps that it lacks are named.

titans.get_missing_future(future[:-2])

# %%
# The forecast
# ------------

forecast = titans.predict(future=future)
bands = titans.predict(future=future, quantiles=(0.1, 0.9))

figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
known["users"]["2012-07-02":].plot(ax=axes, color="0.5", label="known")
later["users"][:HORIZON].plot(ax=axes, color="black", label="what came")
naive.predict()["users"].plot(ax=axes, color="C1", ls="--", label="last week again")
forecast["users"].plot(ax=axes, color="C0", label="Titans, told that it is a day off")
low, high = bands["users_q0.1"], bands["users_q0.9"]
axes.fill_between(bands.index, low, high, color="C0", alpha=0.2, label="10 to 90 %")
axes.set(xlabel="", ylabel="bikes per hour", title="Independence Day: nobody rides to work")
axes.set_ylim(0, 1250)
axes.legend(loc="upper left", ncols=3, fontsize="small")
plt.show()

# %%
# Last week's ways to work and back are not repeated, for the forecast knows that nobody goes there.
#
# One day proves little
# ---------------------
#
# So both are judged from every hour of the three weeks that follow, each with the rows of its own
# context before them. ``score`` takes the covariates of the steps to forecast from the table.

for name, forecaster in {"last week again": naive, "Titans": titans}.items():
    rows = frame["2012-01-01":"2012-07-24"].iloc[len(known) - forecaster.context_length_ :]
    print(f"{name:16} {-forecaster.score(rows):.0f} bikes of error")

"""
A first forecast
================

Four months of a transformer station, hour by hour; then the next two days of its oil temperature,
by a Titans model beside the last day or week repeated.
"""

import matplotlib.pyplot as plt

from titans_ts import SeasonalNaiveForecaster, TitansForecaster
from titans_ts.datasets import make_transformer_station

# %%
# The data
# --------
#
# The simulator has the columns of the ETT data sets: six loads, and the temperature of the oil.
# The last two days are kept for the end.

HORIZON = 48

frame = make_transformer_station(24 * 120, freq="1h", random_state=0)
train, test = frame[:-HORIZON], frame[-HORIZON:]
train.tail(3)

# %%
# Fit two forecasters
# -------------------
#
# Both have the same API. Here the model looks back a week only and trains for two epochs, so that
# this page is built quickly.

naive = SeasonalNaiveForecaster(horizon=HORIZON).fit(train)
titans = TitansForecaster(
    horizon=HORIZON,
    context_length=168,
    quantiles=(0.1, 0.5, 0.9),
    max_epochs=2,
    learning_rate=3e-3,
    random_state=0,
).fit(train)

# %%
# Forecast
# --------
#
# A frame went in, so a frame comes out, with the next 48 hours as its index.

forecast = titans.predict()
forecast["OT"].head(3)

# %%
# Quantiles are columns named after their level.

bands = titans.predict(quantiles=(0.1, 0.9))

figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
train["OT"][-5 * 24 :].plot(ax=axes, color="0.5", label="known")
test["OT"].plot(ax=axes, color="black", label="what came")
naive.predict()["OT"].plot(ax=axes, color="C1", ls="--", label="last season again")
forecast["OT"].plot(ax=axes, color="C0", label="Titans")
low, high = bands["OT_q0.1"], bands["OT_q0.9"]
axes.fill_between(bands.index, low, high, color="C0", alpha=0.2, label="10 to 90 %")
axes.set(xlabel="", ylabel="oil temperature (°C)", title="Two days ahead")
axes.legend(loc="upper left", ncols=3)
plt.show()

# %%
# How good is it?
# ---------------
#
# One window says little. ``score`` goes over every origin of a table that has a full context: here
# all of a week that neither forecaster has seen. Each gets the rows of its own context before that
# week, so both are judged on the same origins. The score is minus the mean absolute error over all
# seven columns, in their own units, so higher is better.

longer = make_transformer_station(24 * 127, freq="1h", random_state=0)
for forecaster in (naive, titans):
    rows = longer[-24 * 7 - forecaster.context_length_ :]
    print(f"{type(forecaster).__name__:24} {forecaster.score(rows):.3f}")

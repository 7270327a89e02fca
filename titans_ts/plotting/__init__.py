"""Pictures of forecasts; the only home of matplotlib."""

from titans_ts.plotting.forecast import check_picture_path, forecast_figure, plot_forecast
from titans_ts.plotting.panels import MAX_PANELS

__all__ = ["MAX_PANELS", "check_picture_path", "forecast_figure", "plot_forecast"]

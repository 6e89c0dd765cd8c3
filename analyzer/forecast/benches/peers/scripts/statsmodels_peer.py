"""statsmodels as a peer: one JSON request a line on stdin, one JSON answer a line on stdout.

Ends with its stdin. The protocol is described in peer.rs. Coefficients are estimated with the library's usual
approximate prior of non-stationary states; what is told about them - likelihood, variance, forecast - is computed
with the exact diffuse prior, given the first d values.
"""

import os

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[threads] = "1"

import json
import signal
import sys
import time
import warnings

import numpy
import statsmodels
from scipy.stats import norm
from statsmodels.tsa.statespace.sarimax import SARIMAX

warnings.simplefilter("ignore")
# Ends without a word.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# Below this the diffuse part of a prediction's variance is none.
DIFFUSE = 1e-7


def regressor(order, start, length):
    """A mean, or after one difference a drift, as the regression it is; none without a constant."""
    if not order["constant"]:
        return None
    steps = numpy.arange(start + 1.0, start + length + 1.0)
    return steps if order["d"] else numpy.ones(length)


def model_of(order, series, **options):
    terms = (order["p"], order["d"], order["q"])
    return SARIMAX(series, exog=regressor(order, 0, len(series)), order=terms, trend="n", **options)


def estimate(order, series):
    """Autoregressive, moving-average, constant."""
    if order["p"] + order["q"] == 0 and not order["constant"]:
        return [], [], None
    fitted = model_of(order, series, concentrate_scale=True).fit(disp=0, maxiter=500)
    constant = fitted.params[:1].tolist() if order["constant"] else []
    terms = fitted.params[len(constant) :].tolist()
    return terms[: order["p"]], terms[order["p"] :], constant[0] if constant else None


def judge(request, order, series, ar, ma, constant):
    """The exact likelihood at its best variance, given the first d values, and the forecast."""
    model = model_of(order, series, use_exact_diffuse=True)
    result = model.filter(numpy.concatenate([[] if constant is None else [constant], ar, ma, [1.0]]))
    filtered = result.filter_results
    counted = ~numpy.isnan(series)
    if filtered.forecasts_error_diffuse_cov is not None:
        counted &= filtered.forecasts_error_diffuse_cov[0, 0] < DIFFUSE
    variance = filtered.forecasts_error_cov[0, 0][counted]
    squares = filtered.forecasts_error[0][counted] ** 2 / variance
    n = int(counted.sum())
    sigma2 = squares.sum() / n
    likelihood = -0.5 * (n * (numpy.log(2 * numpy.pi * sigma2) + 1) + numpy.log(variance).sum())
    later = regressor(order, len(series), request["horizon"])
    forecast = result.get_forecast(request["horizon"], exog=later)
    mean, error = forecast.predicted_mean, forecast.se_mean * numpy.sqrt(sigma2)
    width = norm.ppf(0.5 + request["level"] / 2) * error
    return {
        "coefficients": {"ar": list(ar), "ma": list(ma), "constant": constant},
        "log_likelihood": float(likelihood),
        "sigma2": float(sigma2),
        "mean": mean.tolist(),
        "low": (mean - width).tolist(),
        "high": (mean + width).tolist(),
    }


def answer(request, number):
    order, series = request["order"], numpy.array(request["series"][number], dtype=float)
    try:
        if request["task"] == "arima":
            found = estimate(order, series)
        elif request["task"] == "given":
            given = request["coefficients"][number]
            found = given["ar"], given["ma"], given["constant"]
        else:
            raise ValueError(f"unknown task {request['task']}")
        said = judge(request, order, series, *found)
        json.dumps(said, allow_nan=False)
        return said
    except Exception as error:  # Whatever it is, it is what this peer says about the series.
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    print(json.dumps({"name": f"statsmodels {statsmodels.__version__}"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.process_time()
        answers = [answer(request, number) for number in range(len(request["series"]))]
        spent = time.process_time() - start
        print(json.dumps({"cpu_s": spent, "answers": answers}), flush=True)


main()

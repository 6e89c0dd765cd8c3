"""statsforecast as a peer: one JSON request a line on stdin, one JSON answer a line on stdout.

Ends with its stdin. The protocol is described in peer.rs. CPU time is that of this process, whose libraries run on
one thread; the models are called without the frame around them, which would only add to their time.
"""

import os

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[threads] = "1"

import json
import signal
import sys
import time
import warnings

import numpy
import statsforecast
from statsforecast.models import ARIMA, AutoARIMA

warnings.simplefilter("ignore")
# Ends without a word.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def model_of(request):
    if request["task"] == "auto":
        return AutoARIMA(season_length=1)
    if request["task"] == "arima":
        order = request["order"]
        return ARIMA(
            order=(order["p"], order["d"], order["q"]),
            season_length=1,
            include_constant=order["constant"],
        )
    raise ValueError(f"unknown task {request['task']}")


def answer(request, series):
    percent = round(100 * request["level"])
    try:
        forecast = model_of(request).forecast(y=series, h=request["horizon"], level=[percent])
    except Exception as error:  # Whatever it is, it is what this peer says about the series.
        return {"error": f"{type(error).__name__}: {error}"}
    columns = {"mean": "mean", "low": f"lo-{percent}", "high": f"hi-{percent}"}
    found = {name: numpy.asarray(forecast[column], dtype=float) for name, column in columns.items()}
    if not all(numpy.isfinite(values).all() for values in found.values()):
        return {"error": "a forecast that is not finite"}
    return {name: values.tolist() for name, values in found.items()}


def main():
    print(json.dumps({"name": f"statsforecast {statsforecast.__version__}"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        many = [numpy.array(series, dtype=float) for series in request["series"]]
        start = time.process_time()
        answers = [answer(request, series) for series in many]
        spent = time.process_time() - start
        print(json.dumps({"cpu_s": spent, "answers": answers}, allow_nan=False), flush=True)


main()

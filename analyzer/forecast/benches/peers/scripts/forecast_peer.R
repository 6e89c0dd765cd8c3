# R's forecast and stats as a peer: one JSON request a line on stdin, one JSON answer a line on stdout.
#
# Ends with its stdin. The protocol is described in peer.rs. "auto" and "arima" are the package forecast as people
# call it; "maximum" is stats::arima by maximum likelihood with an optimiser that does not stop early, whose
# variance is the one of maximum likelihood.

suppressPackageStartupMessages({
  library(forecast)
  library(jsonlite)
})

of_name <- function(coefficients, start) {
  unname(coefficients[grepl(paste0("^", start, "[0-9]+$"), names(coefficients))])
}

split_coefficients <- function(coefficients) {
  rest <- coefficients[!grepl("^(ar|ma)[0-9]+$", names(coefficients))]
  list(
    ar = I(of_name(coefficients, "ar")),
    ma = I(of_name(coefficients, "ma")),
    constant = if (length(rest)) unname(rest[1]) else NULL
  )
}

by_package <- function(request, y) {
  if (request$task == "auto") {
    fit <- auto.arima(y)
  } else {
    order <- request$order
    fit <- Arima(y, order = c(order$p, order$d, order$q), include.constant = order$constant)
  }
  predicted <- forecast(fit, h = request$horizon, level = 100 * request$level)
  terms <- arimaorder(fit)
  coefficients <- split_coefficients(fit$coef)
  list(
    order = list(
      p = terms[[1]], d = terms[[2]], q = terms[[3]], constant = !is.null(coefficients$constant)
    ),
    coefficients = coefficients,
    log_likelihood = fit$loglik,
    aicc = fit$aicc,
    mean = I(as.numeric(predicted$mean)),
    low = I(as.numeric(predicted$lower)),
    high = I(as.numeric(predicted$upper))
  )
}

maximum <- function(request, y) {
  order <- request$order
  n <- length(y)
  column <- function(steps) {
    if (!order$constant) NULL else if (order$d == 0) rep(1, length(steps)) else steps
  }
  fit <- arima(
    y, order = c(order$p, order$d, order$q), xreg = column(seq_len(n)), include.mean = FALSE,
    method = "ML", optim.control = list(reltol = 1e-14, maxit = 2000)
  )
  steps <- n + seq_len(request$horizon)
  ahead <- predict(fit, n.ahead = request$horizon, newxreg = column(steps))
  width <- qnorm(0.5 + request$level / 2) * as.numeric(ahead$se)
  list(
    order = order,
    coefficients = split_coefficients(fit$coef),
    log_likelihood = fit$loglik,
    sigma2 = fit$sigma2,
    mean = I(as.numeric(ahead$pred)),
    low = I(as.numeric(ahead$pred) - width),
    high = I(as.numeric(ahead$pred) + width)
  )
}

answer <- function(request, y) {
  said <- tryCatch(
    suppressWarnings(if (request$task == "maximum") maximum(request, y) else by_package(request, y)),
    error = function(e) list(error = conditionMessage(e))
  )
  numbers <- unlist(said[c("log_likelihood", "sigma2", "aicc", "mean", "low", "high")])
  if (is.null(said$error) && !all(is.finite(numbers))) {
    said <- list(error = "an answer that is not finite")
  }
  said
}

spent <- function() sum(proc.time()[c("user.self", "sys.self")])

say <- function(what) {
  cat(toJSON(what, auto_unbox = TRUE, digits = NA, null = "null"), "\n", sep = "")
  flush(stdout())
}

input <- file("stdin", open = "r")
say(list(name = sprintf("R %s, forecast %s", getRversion(), packageVersion("forecast"))))
while (length(line <- readLines(input, n = 1L)) > 0) {
  request <- fromJSON(line, simplifyMatrix = FALSE, simplifyDataFrame = FALSE)
  start <- spent()
  answers <- lapply(request$series, function(y) answer(request, as.numeric(y)))
  say(list(cpu_s = spent() - start, answers = answers))
}

use isotherm_forecast::*;
use isotherm_forecast::backtest::synthetic;
fn main() {
    for n in [120, 500] {
        let count = if n == 120 { 2000 } else { 600 };
        let series: Vec<Vec<f64>> = synthetic::mixed(count, n, 7).unwrap().into_iter().map(|x| x.1).collect();
        let t = std::time::Instant::now();
        let r = batch::select(&series, &Select::new());
        let e = t.elapsed().as_secs_f64();
        let tried: usize = r.iter().flatten().map(|s| s.tried.len()).sum();
        let aicc: f64 = r.iter().flatten().map(|s| s.fitted.aicc()).sum::<f64>() / count as f64;
        println!("auto n={n} {:.0}/s ok {} tried {:.1} mean aicc {aicc:.4}", count as f64 / e, r.iter().flatten().count(), tried as f64 / count as f64);
        for starts in [1, 2, 8] {
        let t = std::time::Instant::now();
        let r = batch::fit(&series, &Fit::new(Order::new(1, 1, 1).unwrap()).starts(starts));
        let e = t.elapsed().as_secs_f64();
        let ll: f64 = r.iter().flatten().map(|s| s.log_likelihood()).sum::<f64>() / count as f64;
        println!("fixed({starts}) n={n} {:.0}/s {ll:.6} {}", count as f64 / e, r.iter().flatten().count());
        let t = std::time::Instant::now();
        let s: f64 = r.iter().flatten().map(|f| f.forecast(12).mean()[11]).sum();
        println!("   forecast {:.2} us each ({s:.3})", t.elapsed().as_secs_f64() * 1e6 / count as f64);
        let t = std::time::Instant::now();
        let s: f64 = r.iter().flatten().zip(&series).map(|(f, y)| f.model().apply(y).unwrap().sigma2()).sum();
        println!("   apply {:.2} us each ({s:.3})", t.elapsed().as_secs_f64() * 1e6 / count as f64);
        }
    }
}

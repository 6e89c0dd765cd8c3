use isotherm_forecast::backtest::synthetic;
use isotherm_forecast::*;
fn main() {
    for n in [120] {
        let count = if n == 120 { 6000 } else { 600 };
        let series: Vec<Vec<f64>> = synthetic::mixed(count, n, 7).into_iter().map(|x| x.1).collect();
        let t = cpu();
        let r = batch::select(&series, &Select::new());
        let e = (cpu() - t);
        let tried: usize = r.iter().flatten().map(|s| s.tried.len()).sum();
        let aicc: f64 = r.iter().flatten().map(|s| s.fitted.aicc()).sum::<f64>() / count as f64;
        println!(
            "evals/series {:.1} lane-evals {:.1}",
            COUNT[0].swap(0, std::sync::atomic::Ordering::Relaxed) as f64 / count as f64,
            COUNT[1].swap(0, std::sync::atomic::Ordering::Relaxed) as f64 / count as f64
        );
        println!(
            "auto n={n} {:.0}/s ok {} tried {:.1} mean aicc {aicc:.4}",
            count as f64 / e,
            r.iter().flatten().count(),
            tried as f64 / count as f64
        );
        for starts in [1] {
            let t = cpu();
            let r = batch::fit(&series, &Fit::new(Order::new(1, 1, 1).unwrap()).starts(starts));
            let e = (cpu() - t);
            let ll: f64 = r.iter().flatten().map(|s| s.log_likelihood()).sum::<f64>() / count as f64;
            println!(
                "evals/series {:.1} lane-evals {:.1}",
                COUNT[0].swap(0, std::sync::atomic::Ordering::Relaxed) as f64 / count as f64,
                COUNT[1].swap(0, std::sync::atomic::Ordering::Relaxed) as f64 / count as f64
            );
            println!(
                "fixed({starts}) n={n} {:.0}/s {ll:.6} {}",
                count as f64 / e,
                r.iter().flatten().count()
            );
            let t = cpu();
            let s: f64 = r.iter().flatten().map(|f| f.forecast(12).mean()[11]).sum();
            println!("   forecast {:.2} us each ({s:.3})", (cpu() - t) * 1e6 / count as f64);
            let t = cpu();
            let s: f64 =
                r.iter().flatten().zip(&series).map(|(f, y)| f.model().apply(y).unwrap().sigma2()).sum();
            println!("   apply {:.2} us each ({s:.3})", (cpu() - t) * 1e6 / count as f64);
        }
    }
}
fn cpu() -> f64 {
    std::fs::read_to_string("/proc/self/task").ok();
    let mut s = 0.0;
    for d in std::fs::read_dir("/proc/self/task").unwrap() {
        s += std::fs::read_to_string(d.unwrap().path().join("schedstat"))
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
            * 1e-9;
    }
    s
}

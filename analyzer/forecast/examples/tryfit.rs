use isotherm_forecast::*;
fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for case in json["auto_arima"].as_array().unwrap() {
        let name = case["series"].as_str().unwrap();
        let y: Vec<f64> =
            json["series"][name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect();
        let ex = case["mode"] == "exhaustive_exact";
        let t = std::time::Instant::now();
        let s = if ex { Select::new().exhaustive() } else { Select::new() };
        let r = s.select(&y);
        let t = t.elapsed();
        match r {
            Ok(s) => {
                let a = case["aicc"].as_f64().unwrap();
                println!(
                    "{name} {} R {} {} {a} ours {} {} diff {:+.4} tried {} {t:?}",
                    case["mode"],
                    case["order"],
                    case["coef"],
                    s.fitted.order(),
                    s.fitted.aicc(),
                    s.fitted.aicc() - a,
                    s.tried.len()
                );
            }
            Err(e) => println!("{name} {e}"),
        }
    }
}

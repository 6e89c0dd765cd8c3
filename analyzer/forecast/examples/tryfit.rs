use isotherm_forecast::*;
fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for case in json["arima_ml"].as_array().unwrap() {
        if case["period"].as_u64() != Some(1) { continue; }
        let name = case["series"].as_str().unwrap();
        let y: Vec<f64> = json["series"][name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect();
        if y.iter().any(|v| v.is_nan()) { continue; }
        let o: Vec<usize> = case["order"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        let mut order = Order::new(o[0], o[1], o[2]).unwrap();
        if case["mean"].as_bool().unwrap() { order = order.with_constant().unwrap(); }
        let t = std::time::Instant::now();
        let r = try_fit(order, &y);
        let t = t.elapsed();
        match r { Ok((c, s2, ll, all)) => { println!("{name} {order} R ll {} ours {ll:.9} diff {:+.2e} s2 {} {s2} {t:?}\n  R {}\n  {c:?}", case["loglik"], ll - case["loglik"].as_f64().unwrap(), case["sigma2"], case["coef"]); 
            let best = all.iter().map(|a| a.0).fold(f64::INFINITY, f64::min);
            println!("   {:?}", all.iter().map(|a| format!("{:+.1e}/{}", a.0 - best, a.1)).collect::<Vec<_>>()); }
          Err(e) => println!("{name} {order} {e}") }
    }
}

fn main() {
    println!("{}", isotherm_forecast::time_it());
}

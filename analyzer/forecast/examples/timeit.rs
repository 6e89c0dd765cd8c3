use isotherm_forecast::time_it;
fn main() {
    for n in [120, 500] { for (p, q, c) in [(1,1,false),(1,1,true),(2,2,true),(0,1,false),(2,0,true),(3,3,true)] {
        println!("n={n} ({p},{q},{c}) us/series-eval: W1 {:.3} plain W8 {:.3} W4 {:.3} W8 {:.3} W16 {:.3}", time_it::<1>(p,q,c,n,false), time_it::<8>(p,q,c,n,true), time_it::<4>(p,q,c,n,false), time_it::<8>(p,q,c,n,false), time_it::<16>(p,q,c,n,false));
    }}
}

use super::*;
use isotherm_model::Layer;
use polars::prelude::{Column, ParquetReader, SerReader};
use proptest::prelude::*;

pub(crate) fn entropy_row(start_ms: u64, partition: &str) -> EntropyRow {
    EntropyRow {
        step_start: Timestamp::from_ms(start_ms),
        step_ms: 60_000,
        system: "s".into(),
        partition: partition.into(),
        layer: Layer::Logical,
        reads: Some(100),
        writes: None,
        eligible: 2,
        status: EntropyStatus::Known,
        node_bits: Some(1.0),
        node_h: Some(1.0),
        n_eff: Some(2.0),
        offset_bits: None,
        peer_bits: Some(0.5),
        nodes: vec!["a".into(), "b".into()],
        served: vec![Some(50), None],
    }
}

pub(crate) fn forecast_row(made_ms: u64, horizon: u32) -> ForecastRow {
    ForecastRow {
        made_at: Timestamp::from_ms(made_ms),
        system: "s".into(),
        partition: "p".into(),
        kind: ForecastKind::Offset,
        step_ms: 900_000,
        horizon,
        mean: Some(0.5),
        lower80: None,
        upper80: Some(0.75),
        p: 2,
        d: 1,
        q: 0,
        interval: IntervalSource::Conformal,
    }
}

pub(crate) fn risk_row(at_ms: u64, partition: &str) -> RiskRow {
    RiskRow {
        at: Timestamp::from_ms(at_ms),
        system: "s".into(),
        partition: partition.into(),
        revision: u64::MAX,
        h: Some(0.25),
        class: Some("low".into()),
        baseline: None,
        z: Some(-1.5),
        surge: Some(false),
        forecast_lower: None,
        forecast_surge: None,
        horizon_h: Some(24.0),
        exposure_per_hour: Some(1e-9),
        exposure_mean: Some(-0.875f64.ln()),
        exposure_variance: Some(0.0),
        risk: Some(0.125),
        calibrated: None,
        loss_failover: Some(3.0),
        loss_survivors_overload: None,
        loss_present_overload: Some(0.0),
        loss_under_replication: None,
        loss_total: None,
        nodes: vec!["a".into(), "b".into()],
        shares: vec![Some(0.75), None],
        hazards: vec![None, Some(1e-4)],
        overloads: vec![None, None],
        domains: Vec::new(),
        domain_shares: Vec::new(),
        domain_hazards: Vec::new(),
        verdict: "keep".into(),
        reason: "nothing would be better".into(),
    }
}

fn read_back<R: Record + Clone + PartialEq + std::fmt::Debug>(rows: &[R]) {
    let frame = R::frame(&rows.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(frame.schema().as_ref(), &R::schema());
    assert_eq!(R::rows(&frame).unwrap(), rows);
    let data = crate::encode::parquet(frame).unwrap();
    let read = ParquetReader::new(std::io::Cursor::new(data)).finish().unwrap();
    assert_eq!(R::rows(&read).unwrap(), rows, "as a file");
}

#[test]
fn rows_are_read_back_as_they_were_written() {
    read_back(&[entropy_row(0, "p"), entropy_row(60_000, "q")]);
    read_back(&[forecast_row(7, 1), forecast_row(7, 2)]);
    read_back(&[risk_row(1, "p"), risk_row(2, "q")]);
}

#[test]
fn tables_without_rows_have_their_columns() {
    read_back::<EntropyRow>(&[]);
    read_back::<ForecastRow>(&[]);
    read_back::<RiskRow>(&[]);
}

#[test]
fn a_null_where_there_can_be_none_is_an_error_that_names_the_column() {
    let mut frame = ForecastRow::frame(&[&forecast_row(7, 1)]).unwrap();
    frame.replace("horizon", Column::new("horizon".into(), [None::<u32>])).unwrap();
    let error = ForecastRow::rows(&frame).unwrap_err().to_string();
    assert!(error.contains("the column horizon has a null"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn lists_keep_what_is_unknown_in_them(
        served in prop::collection::vec(prop::collection::vec(prop::option::of(any::<u64>()), 0..5), 0..8),
    ) {
        let rows: Vec<EntropyRow> = served
            .into_iter()
            .map(|served| EntropyRow {
                nodes: (0..served.len()).map(|node| node.to_string()).collect(),
                served,
                ..entropy_row(0, "p")
            })
            .collect();
        let frame = EntropyRow::frame(&rows.iter().collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(EntropyRow::rows(&frame).unwrap(), rows);
    }
}

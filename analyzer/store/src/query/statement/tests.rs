use super::*;
use crate::query::VIEWS;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

fn ms(text: &str) -> i64 {
    moment(text).unwrap().and_utc().timestamp_millis()
}

fn bounds(sql: &str) -> (Option<i64>, Option<i64>) {
    let parsed = parse(sql).unwrap();
    let bounds = parsed.bounds[&View::Windows];
    (bounds.from, bounds.until)
}

const NINE: &str = "2026-01-01T09:00:00Z";

#[test]
fn comparisons_of_the_start_bound_what_is_read() {
    let nine = ms(NINE);
    for (filter, want) in [
        ("window_start >= '2026-01-01T09:00:00Z'", (Some(nine), None)),
        ("'2026-01-01 09:00' <= window_start", (Some(nine), None)),
        ("window_start < '2026-01-01T10:00:00+01:00'", (None, Some(nine + 1))),
        ("(window_start = '2026-01-01T09:00:00.000') AND ops > 3", (Some(nine), Some(nine + 1))),
        (
            "windows.window_start BETWEEN '2026-01-01' AND '2026-01-01T09:00:00'",
            (Some(nine - 32_400_000), Some(nine + 1)),
        ),
        ("window_start >= '2026-01-01' AND window_start >= '2026-01-01T09:00:00'", (Some(nine), None)),
    ] {
        assert_eq!(bounds(&format!("SELECT ops FROM windows WHERE {filter}")), want, "{filter}");
    }
}

#[test]
fn every_table_is_bounded_by_its_own_time() {
    let at = "'2026-01-01T09:00:00Z'";
    for (view, time) in [
        (View::Entropy, "step_start"),
        (View::Forecasts, "made_at"),
        (View::Risks, "at"),
        (View::Late, "window_start"),
    ] {
        let sql = |column: &str| format!("SELECT * FROM {} WHERE {column} >= {at}", view.name());
        let of = |column: &str| parse(&sql(column)).unwrap().bounds[&view];
        assert_eq!(of(time), Bounds { from: Some(ms(NINE)), until: None }, "{time}");
        assert_eq!(of("last_end"), Bounds::default());
    }
}

#[test]
fn what_is_not_clear_bounds_nothing() {
    for sql in [
        "SELECT * FROM windows",
        "SELECT * FROM windows WHERE window_start >= '2026-01-01' OR ops > 3",
        "SELECT * FROM windows WHERE NOT (window_start >= '2026-01-01')",
        "SELECT * FROM windows WHERE window_start NOT BETWEEN '2026-01-01' AND '2026-01-02'",
        "SELECT * FROM windows WHERE window_start <> '2026-01-01'",
        "SELECT * FROM windows w WHERE windows.window_start >= '2026-01-01'",
        "SELECT * FROM windows JOIN peers ON windows.ops = peers.ops WHERE window_start >= '2026-01-01'",
        "SELECT * FROM windows WHERE window_start >= '2026-01-01' UNION ALL SELECT * FROM windows",
        "SELECT * FROM (SELECT * FROM windows) WHERE window_start >= '2026-01-01'",
        "WITH windows AS (SELECT * FROM windows) SELECT * FROM windows WHERE window_start >= '2026-01-01'",
        "SELECT * FROM nodes WHERE node IN (SELECT node FROM windows)",
    ] {
        assert_eq!(bounds(sql), (None, None), "{sql}");
    }
}

#[test]
fn a_table_that_is_named_twice_has_the_hull() {
    let sql = "SELECT a.ops FROM windows a JOIN windows b ON a.node = b.node
               WHERE a.window_start >= '2026-01-01T10:00:00Z' AND a.window_start < '2026-01-01T11:00:00Z'
                 AND b.window_start >= '2026-01-01T09:00:00Z' AND b.window_start < '2026-01-01T10:00:00Z'";
    assert_eq!(bounds(sql), (Some(ms(NINE)), Some(ms("2026-01-01T11:00:00Z") + 1)));
    let parsed = parse("SELECT * FROM windows WHERE window_start >= '2026-01-01T09:00:00Z'").unwrap();
    let at = |ms: i64| Timestamp::from_ms(ms.cast_unsigned());
    let span = Span { since: Some(at(0)), until: Some(at(ms(NINE) + 5)) };
    let both = parsed.bounds(View::Windows, span);
    assert_eq!(both, Span { since: Some(at(ms(NINE))), until: Some(at(ms(NINE) + 5)) });
}

#[test]
fn only_one_select_over_tables_is_let_through() {
    let refused = [
        ("DELETE FROM windows", "DELETE"),
        ("DROP TABLE windows", "DROP"),
        ("TRUNCATE TABLE windows", "TRUNCATE"),
        ("CREATE TABLE x AS SELECT * FROM windows", "CREATE"),
        ("INSERT INTO windows SELECT * FROM windows", "INSERT"),
        ("UPDATE windows SET ops = 0", "UPDATE"),
        ("WITH a AS (DELETE FROM windows) SELECT 1", "DELETE"),
        ("WITH a AS (SELECT 1) DELETE FROM windows", "DELETE"),
        ("SELECT 1; SELECT 2", "not one statement"),
        ("", "not one statement"),
        ("EXPLAIN SELECT * FROM windows", "EXPLAIN"),
        ("SHOW TABLES", "SHOW"),
        ("COPY windows TO '/tmp/x'", "COPY"),
        ("TABLE windows", "TABLE"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT * FROM windows, read_parquet('x')", "read_parquet"),
        ("SELECT ops FROM windows WHERE ops IN (SELECT * FROM READ_CSV('/etc/passwd'))", "READ_CSV"),
        ("SELECT * FROM (windows JOIN read_csv('/etc/passwd') ON true)", "read_csv"),
        ("SELECT * FROM LATERAL read_csv('/etc/passwd')", "read_csv"),
        ("SELECT * FROM TABLE(read_csv('/etc/passwd'))", "read_csv"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM \"/etc/passwd\"", "/etc/passwd"),
        ("SELECT * FROM catalog.windows", "catalog.windows"),
        ("SELECT * FROM Windows", "Windows"),
    ];
    for (sql, found) in refused {
        let error = parse(sql).unwrap_err();
        assert!(error.is_of_the_statement());
        assert!(error.to_string().contains(found), "{sql}: {error}");
    }
    let error = parse("SELECT * FROM window").unwrap_err().to_string();
    assert!(error.contains("no table window;") && error.contains("windows, peers"), "{error}");
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let error = parse("SELECT ops\nFROM windows WHERE").unwrap_err().to_string();
    assert!(error.contains("Expected") && error.contains("EOF"), "{error}");
    let error = parse("SELECT ops\nFROM windows WHERE )").unwrap_err().to_string();
    assert!(error.contains("Line: 2, Column: 20"), "{error}");
}

#[test]
fn moments_are_written_as_polars_reads_them() {
    let parsed =
        parse("SELECT 'x' FROM windows WHERE window_start IN ('2026-01-01T10:00:00+01:00')").unwrap();
    assert!(
        parsed.sql.contains("TIMESTAMP(3) '2026-01-01T09:00:00.000'") && parsed.sql.contains("'x'"),
        "{}",
        parsed.sql
    );
    let untouched = "select  ops from windows where node = '2026-01-01'";
    assert_eq!(parse(untouched).unwrap().sql, untouched);
    let error = parse("SELECT * FROM windows WHERE window_start > 'yesterday'").unwrap_err().to_string();
    assert!(error.contains("\"yesterday\"") && error.contains("window_start"), "{error}");
}

proptest! {
    /// Whatever comes in, it is an answer or an error, and what is answered names only tables.
    #[test]
    fn nothing_that_is_no_query_gets_through(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "SELECT", "*", "FROM", "windows", "peers", "WHERE", "window_start", ">=", "'2026-01-01'", "AND", "(", ")",
            "read_csv", "'/etc/passwd'", "DELETE", "INTO", "INSERT", "WITH", "a", "AS", ",", "UNION", "TABLE", ";",
        ]), 0..24,
    )) {
        let sql = words.join(" ");
        if let Ok(parsed) = parse(&sql) {
            prop_assert!(parsed.views.iter().all(|view| VIEWS.contains(view)));

            let again = parse(&parsed.sql).map(|again| again.views);
            prop_assert_eq!(again.ok(), Some(parsed.views), "{}", sql);
        }
    }
}

//! What a statement asks, before polars sees it.
//!
//! Three things are decided here. Whether it only reads: one query, no other statement inside it, no function
//! as a table. Which tables it names. And which stretch of time it can be about: comparisons of the
//! table's time with constants, joined by AND in the WHERE of the SELECT that names the table. Rows outside of them cannot
//! be in the answer, whatever else the statement does, also under outer joins: a row that another one is not
//! joined to has no time, and the comparison drops it. A table that is named twice has the hull of
//! both; where anything is unclear there is no bound.
//!
//! Moments are texts in SQL. Those that are compared with a column of time are read as RFC 3339 and written in
//! the one form that polars reads, so that `2026-01-31T12:00:00Z` is the moment that it says.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "SQL has hundreds of forms; one that is not named says nothing"
)]

use super::view::{View, is_moment};
use crate::error::SqlError;
use crate::read::Span;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use isotherm_model::Timestamp;
use sqlparser::ast::{
    BinaryOperator, DataType, Expr, ObjectName, Query, Select, SetExpr, Statement, TableFactor, TimezoneInfo,
    TypedString, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// A statement that only reads.
#[derive(Debug)]
pub(super) struct Parsed {
    /// Its text, for polars.
    pub(super) sql: String,
    /// The tables it names, each once.
    pub(super) views: Vec<View>,
    bounds: BTreeMap<View, Bounds>,
}

/// Milliseconds `from .. until` in which rows start; `None` is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bounds {
    from: Option<i64>,
    until: Option<i64>,
}

impl Bounds {
    fn and(self, other: Self) -> Self {
        let both = |a: Option<i64>, b: Option<i64>, stricter: fn(i64, i64) -> i64| match (a, b) {
            (Some(a), Some(b)) => Some(stricter(a, b)),
            (one, None) | (None, one) => one,
        };
        Self { from: both(self.from, other.from, i64::max), until: both(self.until, other.until, i64::min) }
    }

    fn hull(self, other: Self) -> Self {
        let wider = |a: Option<i64>, b: Option<i64>, wider: fn(i64, i64) -> i64| Some(wider(a?, b?));
        Self { from: wider(self.from, other.from, i64::min), until: wider(self.until, other.until, i64::max) }
    }
}

impl Parsed {
    /// The stretch of time of a view that matters, within `span`. It may be empty.
    pub(super) fn bounds(&self, view: View, span: Span) -> Span {
        let moment = |ms: i64| Timestamp::from_ms(ms.max(0).cast_unsigned());
        let bounds = self.bounds.get(&view).copied().unwrap_or_default();
        let since = [span.since, bounds.from.map(moment)].into_iter().flatten().max();
        let until = [span.until, bounds.until.map(moment)].into_iter().flatten().min();
        Span { since, until }
    }
}

/// Reads a statement.
pub(super) fn parse(sql: &str) -> Result<Parsed, SqlError> {
    let options = ParserOptions { trailing_commas: true, ..ParserOptions::default() };
    let dialect = GenericDialect;
    let parser = Parser::new(&dialect).with_options(options);
    let mut statements = parser.try_with_sql(sql).and_then(|mut parser| parser.parse_statements())?;
    let (Some(mut statement), None) = (statements.pop(), statements.pop()) else {
        return Err(SqlError::OnlySelect { found: "not one statement".to_owned() });
    };
    if !matches!(statement, Statement::Query(_)) {
        let words = statement.to_string();
        let found = words.split_whitespace().next().unwrap_or_default().to_owned();
        return Err(SqlError::OnlySelect { found });
    }
    let mut names = Names::default();
    if let ControlFlow::Break(error) = Visit::visit(&statement, &mut names) {
        return Err(error);
    }
    let mut views = BTreeSet::new();
    for name in names.relations.keys() {
        match View::from_name(name) {
            // Also where a query gives the name to a part of itself, which may read the table.
            Some(view) => drop(views.insert(view)),
            None if names.ctes.contains(name) => {}
            None => return Err(SqlError::unknown_table(name)),
        }
    }
    let mut moments = Moments::default();
    if let ControlFlow::Break(error) = VisitMut::visit(&mut statement, &mut moments) {
        return Err(error);
    }
    let bounds = views.iter().map(|view| (*view, names.bounds(*view))).collect();
    // Writing it anew only where it had to change keeps polars' own messages about the text as given.
    let sql = if moments.changed { statement.to_string() } else { sql.to_owned() };
    Ok(Parsed { sql, views: views.into_iter().collect(), bounds })
}

/// What a statement names, and where it bounds it.
#[derive(Debug, Default)]
struct Names {
    statements: usize,
    /// Every name that stands for a table, with how often.
    relations: BTreeMap<String, usize>,
    /// Names that queries give to parts of themselves.
    ctes: BTreeSet<String>,
    /// Bounds of each place where a SELECT names a table directly.
    bounded: BTreeMap<String, Vec<Bounds>>,
}

impl Names {
    fn bounds(&self, view: View) -> Bounds {
        let name = view.name();
        let places = self.bounded.get(name).map_or(&[][..], Vec::as_slice);
        // A name that means two things, or a place that no SELECT looks after, can be about any time.
        if self.ctes.contains(name) || self.relations.get(name) != Some(&places.len()) {
            return Bounds::default();
        }
        places.iter().copied().reduce(Bounds::hull).unwrap_or_default()
    }
}

impl Visitor for Names {
    type Break = SqlError;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<SqlError> {
        self.statements += 1;
        if self.statements == 1 {
            return ControlFlow::Continue(());
        }
        let words = statement.to_string();
        let found = words.split_whitespace().next().unwrap_or_default().to_owned();
        ControlFlow::Break(SqlError::OnlySelect { found })
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        if let Some(with) = &query.with {
            self.ctes.extend(with.cte_tables.iter().map(|cte| cte.alias.name.value.clone()));
        }
        // TABLE name, which no visitor tells of as a relation.
        if let SetExpr::Table(_) = query.body.as_ref() {
            return ControlFlow::Break(SqlError::OnlySelect { found: "TABLE".to_owned() });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<SqlError> {
        *self.relations.entry(plain(relation)).or_default() += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<SqlError> {
        let function = match factor {
            TableFactor::Table { args: None, .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => return ControlFlow::Continue(()),
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => name.to_string(),
            other => other.to_string(),
        };
        ControlFlow::Break(SqlError::Function { function })
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        let joined = |from: &sqlparser::ast::TableWithJoins| 1 + from.joins.len();
        let alone = select.from.iter().map(joined).sum::<usize>() == 1;
        for from in &select.from {
            let relations = std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation));
            for relation in relations {
                let TableFactor::Table { name, alias, .. } = relation else { continue };
                let called = alias.as_ref().map_or_else(|| plain(name), |alias| alias.name.value.clone());
                let Some(time) = View::from_name(&plain(name)).and_then(View::time) else { continue };
                let column = Column { table: &called, time, alone };
                let bounds = select.selection.as_ref().map(|filter| column.bounds(filter));
                self.bounded.entry(plain(name)).or_default().push(bounds.unwrap_or_default());
            }
        }
        ControlFlow::Continue(())
    }
}

/// A name as polars looks it up.
fn plain(name: &ObjectName) -> String {
    let part = |part: &sqlparser::ast::ObjectNamePart| part.as_ident().map(|ident| ident.value.clone());
    name.0.iter().map(|found| part(found).unwrap_or_else(|| found.to_string())).collect::<Vec<_>>().join(".")
}

/// The time of one table of a SELECT.
struct Column<'a> {
    table: &'a str,
    time: &'static str,
    /// The SELECT has no other table, so that the column needs no name before it.
    alone: bool,
}

impl Column<'_> {
    fn is(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Identifier(name) => self.alone && name.value == self.time,
            Expr::CompoundIdentifier(names) => {
                let names: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
                names == [self.table, self.time]
            }
            Expr::Nested(inner) => self.is(inner),
            _ => false,
        }
    }

    fn bounds(&self, filter: &Expr) -> Bounds {
        match filter {
            Expr::Nested(inner) => self.bounds(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.bounds(left).and(self.bounds(right))
            }
            Expr::BinaryOp { left, op, right } if self.is(left) => compared(op, constant(right)),
            Expr::BinaryOp { left, op, right } if self.is(right) => {
                mirrored(op).map_or_else(Bounds::default, |op| compared(&op, constant(left)))
            }
            Expr::Between { expr, negated: false, low, high } if self.is(expr) => {
                let from = compared(&BinaryOperator::GtEq, constant(low));
                from.and(compared(&BinaryOperator::LtEq, constant(high)))
            }
            _ => Bounds::default(),
        }
    }
}

/// What `time op moment` leaves.
fn compared(op: &BinaryOperator, moment: Option<i64>) -> Bounds {
    let (from, after) = (moment, moment.map(|ms| ms.saturating_add(1)));
    match op {
        BinaryOperator::Gt | BinaryOperator::GtEq => Bounds { from, until: None },
        BinaryOperator::Lt | BinaryOperator::LtEq => Bounds { from: None, until: after },
        BinaryOperator::Eq => Bounds { from, until: after },
        _ => Bounds::default(),
    }
}

/// `b op a` for `a op b`.
fn mirrored(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Eq => BinaryOperator::Eq,
        _ => return None,
    })
}

/// A moment that stands in the statement, in milliseconds, rounded down.
fn constant(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Nested(inner) => constant(inner),
        Expr::Value(_) => Some(moment(plain_text(expr)?)?.and_utc().timestamp_millis()),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

/// A moment of a text, in UTC: RFC 3339, or the same without its offset, or a day.
fn moment(text: &str) -> Option<NaiveDateTime> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.naive_utc());
    }
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).or_else(day)
}

/// Rewrites texts that are compared with a column of time.
#[derive(Debug, Default)]
struct Moments {
    changed: bool,
}

impl Moments {
    fn rewrite(&mut self, column: &Expr, compared: &mut Expr) -> ControlFlow<SqlError> {
        if let Expr::Nested(inner) = compared {
            return self.rewrite(column, inner);
        }
        let (Some(name), Some(text)) = (time(column), plain_text(compared)) else {
            return ControlFlow::Continue(());
        };
        let Some(at) = moment(text) else {
            return ControlFlow::Break(SqlError::Moment { text: text.to_owned(), column: name.to_owned() });
        };
        let text = at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
        // With its type: polars finds that of a column only where no join has renamed it.
        *compared = Expr::TypedString(TypedString {
            data_type: DataType::Timestamp(Some(3), TimezoneInfo::None),
            value: Value::SingleQuotedString(text).with_empty_span(),
            uses_odbc_syntax: false,
        });
        self.changed = true;
        ControlFlow::Continue(())
    }
}

fn plain_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => text(&value.value),
        _ => None,
    }
}

/// The column of time that an expression is.
fn time(expr: &Expr) -> Option<&str> {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => names.last()?,
        Expr::Nested(inner) => return time(inner),
        _ => return None,
    };
    is_moment(&name.value).then_some(name.value.as_str())
}

impl VisitorMut for Moments {
    type Break = SqlError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match expr {
            Expr::BinaryOp { left, right, .. } => {
                self.rewrite(left, right)?;
                self.rewrite(right, left)
            }
            Expr::Between { expr, low, high, .. } => {
                self.rewrite(expr, low)?;
                self.rewrite(expr, high)
            }
            Expr::InList { expr, list, .. } => list.iter_mut().try_for_each(|item| self.rewrite(expr, item)),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests;

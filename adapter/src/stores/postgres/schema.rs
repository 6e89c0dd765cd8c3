//! Tables made after the image of others.

use super::link::{Link, role};
use super::names::{Names, Table, literal, quoted};
use super::place::Place;
use crate::contract::Refusal;
use std::fmt::Write as _;

const COLUMNS: &str = "
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
        pg_get_expr(d.adbin, d.adrelid), a.attgenerated::text,
        (SELECT string_agg(format('%I %L', option_name, option_value), ', ') FROM pg_options_to_table(a.attfdwoptions))
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const CONSTRAINTS: &str = "
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass($1::text) AND contype::text = ANY($2) ORDER BY contype, conname";

const INDEXES: &str = "
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = to_regclass($1::text)
        AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
    ORDER BY i.indexrelid";

const IDENTITY: &str = "
    SELECT c.relreplident::text, (SELECT x.relname FROM pg_index i
        JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident)
    FROM pg_class c WHERE c.oid = to_regclass($1::text)";

const GRANTS: &str = "
    SELECT pg_get_userbyid(c.relowner), g.privilege_type, g.is_grantable,
        coalesce(pg_get_userbyid(nullif(g.grantee, 0)), '')
    FROM pg_class c LEFT JOIN LATERAL aclexplode(c.relacl) AS g ON g.grantee <> c.relowner
    WHERE c.oid = to_regclass($1::text)";

const OPTIONS: &str = "
    SELECT format('%I %L', option_name, option_value) FROM pg_foreign_table, pg_options_to_table(ftoptions)
    WHERE ftrelid = to_regclass($1::text) AND option_name NOT IN ('schema_name', 'table_name')";

/// Makes an empty table on the target like that of the source; does nothing if it was made before.
pub(super) async fn copy(source: &Link, target: &Link, table: &Table, names: &Names) -> Result<(), Refusal> {
    if is_marked(target, table, names).await? {
        return Ok(());
    }
    let name = table.to_string();
    let mut sql =
        format!("CREATE TABLE {table} ({});\n", columns(source, table, &["p", "u", "c", "x"]).await?);
    for row in source.rows(INDEXES, &[&name]).await? {
        let _ = writeln!(sql, "{};", row.get::<&str>(0)?);
    }
    let row = source.row(IDENTITY, &[&name]).await?;
    match (row.get::<&str>(0)?, row.get::<Option<&str>>(1)?) {
        ("f", _) => _ = writeln!(sql, "ALTER TABLE {table} REPLICA IDENTITY FULL;"),
        ("i", Some(index)) => {
            let _ = writeln!(sql, "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {};", quoted(index));
        }
        _ => {}
    }
    sql.push_str(&grants(source, table, table).await?);
    let _ = write!(sql, "COMMENT ON TABLE {table} IS {}", literal(names.mark()));
    target.run(&sql).await
}

/// Makes the router's table for the target, attached to nothing yet.
pub(super) async fn foreign(
    router: &Link,
    place: &Place,
    server: &str,
    names: &Names,
) -> Result<(), Refusal> {
    let new = place.table.beside(names.forth());
    if exists(router, &new).await? {
        return Ok(());
    }
    let columns = columns(router, &place.table, &["c"]).await?;
    let mut options: Vec<String> = vec![
        format!("schema_name {}", literal(&place.remote.schema)),
        format!("table_name {}", literal(&place.remote.name)),
    ];
    let others = router.rows(OPTIONS, &[&place.table.to_string()]).await?;
    for row in others {
        options.push(row.get(0)?);
    }
    let mut sql = format!(
        "CREATE FOREIGN TABLE {new} ({columns}) SERVER {} OPTIONS ({});\n",
        quoted(server),
        options.join(", ")
    );
    sql.push_str(&grants(router, &place.table, &new).await?);
    let _ = write!(sql, "COMMENT ON FOREIGN TABLE {new} IS {}", comment(router, &place.table).await?);
    router.run(&sql).await
}

/// Whether a table was made for this migration.
pub(super) async fn is_marked(link: &Link, table: &Table, names: &Names) -> Result<bool, Refusal> {
    let sql = "SELECT FROM pg_class c WHERE c.oid = to_regclass($1::text) AND obj_description(c.oid, 'pg_class') = $2";
    link.has(sql, &[&table.to_string(), &names.mark()]).await
}

/// The comment of a table as SQL takes it; NULL if it has none, or is not there.
pub(super) async fn comment(link: &Link, table: &Table) -> Result<String, Refusal> {
    let row =
        link.row("SELECT obj_description(to_regclass($1::text), 'pg_class')", &[&table.to_string()]).await?;
    Ok(row.get::<Option<&str>>(0)?.map_or_else(|| "NULL".to_owned(), literal))
}

/// Whether there is such a table, or anything else of its name.
pub(super) async fn exists(link: &Link, table: &Table) -> Result<bool, Refusal> {
    link.has("SELECT WHERE to_regclass($1::text) IS NOT NULL", &[&table.to_string()]).await
}

/// Columns and constraints as CREATE TABLE takes them.
async fn columns(link: &Link, table: &Table, constraints: &[&str]) -> Result<String, Refusal> {
    let name = table.to_string();
    let mut parts = Vec::new();
    for row in link.rows(COLUMNS, &[&name]).await? {
        let mut part = format!("{} {}", quoted(row.get(0)?), row.get::<&str>(1)?);
        if let Some(options) = row.get::<Option<&str>>(6)? {
            let _ = write!(part, " OPTIONS ({options})");
        }
        if let Some(collation) = row.get::<Option<&str>>(3)? {
            let _ = write!(part, " COLLATE {collation}");
        }
        match (row.get::<Option<&str>>(4)?, row.get::<&str>(5)?) {
            (Some(value), "s") => _ = write!(part, " GENERATED ALWAYS AS ({value}) STORED"),
            (Some(value), _) => _ = write!(part, " DEFAULT {value}"),
            (None, _) => {}
        }
        if row.get(2)? {
            part.push_str(" NOT NULL");
        }
        parts.push(part);
    }
    for row in link.rows(CONSTRAINTS, &[&name, &constraints]).await? {
        parts.push(format!("CONSTRAINT {} {}", quoted(row.get(0)?), row.get::<&str>(1)?));
    }
    Ok(parts.join(", "))
}

/// Owner and rights of a table, for another.
async fn grants(link: &Link, of: &Table, to: &Table) -> Result<String, Refusal> {
    let mut sql = String::new();
    for (number, row) in link.rows(GRANTS, &[&of.to_string()]).await?.iter().enumerate() {
        if number == 0 {
            let _ = writeln!(sql, "ALTER TABLE {to} OWNER TO {};", quoted(row.get(0)?));
        }
        if let Some(right) = row.get::<Option<&str>>(1)? {
            let passing = if row.get(2)? { " WITH GRANT OPTION" } else { "" };
            let _ = writeln!(sql, "GRANT {right} ON TABLE {to} TO {}{passing};", role(row.get(3)?));
        }
    }
    Ok(sql)
}

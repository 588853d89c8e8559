use outbox::TableName;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::session::Session;
use crate::retention::month::Month;
use crate::setup::catalog::{
    CatalogColumn, CatalogIndex, CatalogPartition, CatalogPublication, CatalogRole, CatalogSchema,
    CatalogServer, CatalogSlot, CatalogSnapshot, CatalogTable, PublishedTable,
};

// Names are compared as text: as a parameter of type name, one longer than 63 bytes would be an error. Columns
// of catalog views that only newer servers have are read through to_jsonb, so that one query serves them all.

const SERVER: &str = "
select current_setting('server_version_num')::int4, current_setting('server_version'), pg_is_in_recovery(),
       current_setting('wal_level'), current_setting('max_replication_slots')::int4,
       (select count(*)::int4 from pg_replication_slots), current_database()::text,
       (extract(year from now() at time zone 'UTC') * 12 + extract(month from now() at time zone 'UTC'))::int4 - 1";

// On Amazon RDS the right to replicate is membership in a role instead of an attribute.
const ROLE: &str = "
select r.rolname::text,
       r.rolsuper or r.rolreplication or exists (
           select from pg_roles m where m.rolname = 'rds_replication' and pg_has_role(m.oid, 'USAGE')),
       has_database_privilege(current_database(), 'CREATE')
from pg_roles r where r.rolname = current_user";

const SCHEMA: &str = "
select has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
from pg_namespace where nspname::text = $1::text";

const TABLE: &str = "
select c.oid, c.relkind::text, c.relpersistence = 'p', pg_has_role(c.relowner, 'USAGE'),
       row_security_active(c.oid),
       coalesce((select option_value::int4 from pg_options_to_table(c.reloptions)
                 where option_name = 'fillfactor'), 100),
       has_table_privilege(c.oid, 'DELETE')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname::text = $1::text and c.relname::text = $2::text";

// A user's type is read as text where its binary form is text: categories are those of strings and enums, which
// a domain has from its base type, as it has its binary form.
const COLUMNS: &str = "
select a.attname::text,
       format_type(a.atttypid, null)
           || case t.typtype when 'd' then ' (domain over ' || format_type(t.typbasetype, null) || ')' else '' end,
       a.atttypid >= 16384 and t.typcategory in ('S', 'E'), a.attgenerated <> '',
       pg_get_expr(d.adbin, d.adrelid),
       has_column_privilege(a.attrelid, a.attnum, 'SELECT'), has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
from pg_attribute a join pg_type t on t.oid = a.atttypid
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum";

// Columns that only an expression or the predicate touches are among the index's dependencies.
const INDEXES: &str = "
select c.relname::text, i.indisvalid and i.indpred is null,
       (select a.attname::text from pg_attribute a where a.attrelid = i.indrelid and a.attnum = i.indkey[0]),
       array(select a.attname::text from pg_attribute a
             where a.attrelid = i.indrelid and a.attnum > 0
               and (a.attnum = any (i.indkey) or exists (
                   select from pg_depend d
                   where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid
                     and d.refobjsubid = a.attnum))
             order by a.attnum),
       am.amname = 'btree',
       not (am.amname = 'brin' and current_setting('server_version_num')::int4 >= 160000)
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am am on am.oid = c.relam
where i.indrelid = $1 order by 1";

// Bounds are printed and parsed in the session's time zone, which yields points in time. A range of anything
// but times tells none.
const PARTITIONS: &str = "
select n.nspname::text, c.relname::text, b.bound = 'DEFAULT', c.relkind::text,
       coalesce((select option_value::int4 from pg_options_to_table(c.reloptions)
                 where option_name = 'fillfactor'), 100),
       to_char(b.ends[1]::timestamptz at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
       to_char(b.ends[2]::timestamptz at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
from pg_class p join pg_namespace pn on pn.oid = p.relnamespace
     join pg_partitioned_table k on k.partrelid = p.oid
     join pg_inherits i on i.inhparent = p.oid
     join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
     cross join lateral (
         select e.bound,
                case when k.partnatts = 1 and k.partstrat = 'r' and exists (
                         select from pg_attribute a
                         where a.attrelid = p.oid and a.attnum = k.partattrs[0] and a.attname::text = $3::text
                           and a.atttypid = 'timestamptz'::regtype)
                     then regexp_match(e.bound, '^FOR VALUES FROM \\(''([^'']*)''\\) TO \\(''([^'']*)''\\)$') end as ends
         from pg_get_expr(c.relpartbound, c.oid) as e (bound)) b
where pn.nspname::text = $1::text and p.relname::text = $2::text
order by 1, 2";

const PUBLICATION: &str = "
select pg_has_role(pubowner, 'USAGE'), puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot
from pg_publication where pubname::text = $1::text";

// A partitioned table whose partitions are published under their own names is not in the view itself.
const PUBLISHED_TABLE: &str = "
select to_jsonb(t) ->> 'rowfilter', to_jsonb(t) ? 'attnames',
       array(select jsonb_array_elements_text(case jsonb_typeof(to_jsonb(t) -> 'attnames')
                                              when 'array' then to_jsonb(t) -> 'attnames' else '[]' end))
from pg_publication_tables t
where t.pubname::text = $1::text and t.schemaname::text = $2::text and t.tablename::text = $3::text
union all
select null, false, '{}'
from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
     join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'p' and not p.pubviaroot
  and p.pubname::text = $1::text and n.nspname::text = $2::text and c.relname::text = $3::text
limit 1";

const SLOT: &str = "
select plugin::text, database::text, temporary, wal_status, to_jsonb(s) ->> 'invalidation_reason',
       (to_jsonb(s) ->> 'failover')::boolean
from pg_replication_slots s where slot_name::text = $1::text";

// What the relay does with each of its own tables.
const POSTRIDER_TABLES: &str = "
select c.relname::text, has_table_privilege(c.oid, 'SELECT'),
       array(select needed.privilege from unnest(case c.relname
                 when 'migration' then '{SELECT}'
                 when 'progress' then '{SELECT, INSERT, UPDATE}'
                 when 'replay' then '{SELECT, UPDATE}'
                 else '{SELECT, INSERT, UPDATE, DELETE}' end::text[]) as needed (privilege)
             where not has_table_privilege(c.oid, needed.privilege)),
       pg_has_role(c.relowner, 'USAGE')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'postrider' and c.relname in ('migration', 'progress', 'replay', 'held') and c.relkind = 'r'
order by 1";

/// Reads everything from the catalog that [`plan`](crate::plan) and [`problems_for_run`](crate::problems_for_run)
/// decide on. Changes nothing.
///
/// # Errors
///
/// As of any query.
pub async fn inspect(session: &Session, names: &Names) -> Result<CatalogSnapshot, StoreError> {
    let server = one(session, SERVER, &[]).await?;
    let role = one(session, ROLE, &[]).await?;
    let (schema, table) = (&names.table.schema, &names.table.name);
    let PostriderSchema { migrations, missing_privileges, owns_replay } = postrider_schema(session).await?;
    Ok(CatalogSnapshot {
        server: CatalogServer {
            version_num: server.get(0),
            version: server.get(1),
            standby: server.get(2),
            wal_level: server.get(3),
            slots_max: server.get(4),
            slots: server.get(5),
            database: server.get(6),
            month: Month::from_number(server.get(7)),
        },
        role: CatalogRole { name: role.get(0), replication: role.get(1), create_in_database: role.get(2) },
        table_schema: find_schema(session, schema).await?,
        table: match optional(session, TABLE, &[schema, table]).await? {
            Some(row) => Some(describe_table(session, &row, names).await?),
            None => None,
        },
        publication: match optional(session, PUBLICATION, &[&names.publication]).await? {
            Some(row) => {
                let published_table =
                    optional(session, PUBLISHED_TABLE, &[&names.publication, schema, table]).await?;
                let replay: [&(dyn ToSql + Sync); 3] = [&names.publication, &"postrider", &"replay"];
                let replay = optional(session, PUBLISHED_TABLE, &replay).await?;
                Some(publication(&row, published_table.as_ref(), replay.is_some()))
            }
            None => None,
        },
        slot: optional(session, SLOT, &[&names.slot]).await?.map(|row| CatalogSlot {
            plugin: row.get(0),
            database: row.get(1),
            temporary: row.get(2),
            wal_status: row.get(3),
            invalidation_reason: row.get(4),
            failover: row.get(5),
        }),
        migrations,
        missing_privileges,
        owns_replay,
    })
}

async fn find_schema(session: &Session, name: &str) -> Result<Option<CatalogSchema>, StoreError> {
    let row = optional(session, SCHEMA, &[&name]).await?;
    Ok(row.map(|row| CatalogSchema { usage: row.get(0), create: row.get(1) }))
}

async fn describe_table(session: &Session, table: &Row, names: &Names) -> Result<CatalogTable, StoreError> {
    let oid: u32 = table.get(0);
    let columns = all(session, COLUMNS, &[&oid]).await?;
    let indexes = all(session, INDEXES, &[&oid]).await?;
    Ok(CatalogTable {
        kind: table.get(1),
        logged: table.get(2),
        owned: table.get(3),
        row_security: table.get(4),
        fillfactor: table.get(5),
        delete: table.get(6),
        partitions: partitions(session, names).await?,
        columns: columns
            .iter()
            .map(|row| CatalogColumn {
                name: row.get(0),
                type_name: row.get(1),
                text_of_user: row.get(2),
                generated: row.get(3),
                default: row.get(4),
                select: row.get(5),
                update: row.get(6),
            })
            .collect(),
        indexes: indexes
            .iter()
            .map(|row| CatalogIndex {
                name: row.get(0),
                usable: row.get(1),
                leads_with: row.get(2),
                touches: row.get(3),
                ordered: row.get(4),
                ends_hot: row.get(5),
            })
            .collect(),
    })
}

/// The table's partitions; none of a table that is not partitioned.
pub(crate) async fn partitions(
    session: &Session,
    names: &Names,
) -> Result<Vec<CatalogPartition>, StoreError> {
    let table = &names.table;
    let rows = all(session, PARTITIONS, &[&table.schema, &table.name, &names.columns.created_at]).await?;
    let partition = |row: &Row| {
        let name = TableName { schema: row.get(0), name: row.get(1) };
        let (from, to): (Option<&str>, Option<&str>) = (row.get(5), row.get(6));
        let month = Month::of_partition(table, &name.name).filter(|month| {
            name.schema == table.schema
                && from == Some(&month.timestamp())
                && to == Some(&month.next().timestamp())
        });
        CatalogPartition { month, default: row.get(2), kind: row.get(3), fillfactor: row.get(4), name }
    };
    Ok(rows.iter().map(partition).collect())
}

fn publication(row: &Row, published_table: Option<&Row>, replay: bool) -> CatalogPublication {
    let more = [(3, "update"), (4, "delete"), (5, "truncate")];
    CatalogPublication {
        owned: row.get(0),
        all_tables: row.get(1),
        inserts: row.get(2),
        more: more.iter().filter(|(index, _)| row.get(*index)).map(|(_, name)| (*name).to_owned()).collect(),
        via_root: row.get(6),
        published_table: published_table.map(|row| PublishedTable {
            row_filter: row.get(0),
            columns: row.get::<_, bool>(1).then(|| row.get(2)),
        }),
        replay,
    }
}

/// Schema `postrider`.
#[derive(Default)]
struct PostriderSchema {
    /// The applied migrations.
    migrations: Vec<i32>,
    /// The privileges that the role lacks on existing tables.
    missing_privileges: Vec<String>,
    owns_replay: Option<bool>,
}

async fn postrider_schema(session: &Session) -> Result<PostriderSchema, StoreError> {
    let Some(schema) = find_schema(session, "postrider").await? else {
        return Ok(PostriderSchema::default());
    };
    let (mut missing_privileges, mut owns_replay) = (Vec::new(), None);
    if !schema.usage {
        missing_privileges.push("USAGE ON SCHEMA postrider".to_owned());
    }
    let mut migrations_are_readable = false;
    for row in all(session, POSTRIDER_TABLES, &[]).await? {
        let (name, select, missing): (&str, bool, Vec<&str>) = (row.get(0), row.get(1), row.get(2));
        if name == "replay" {
            owns_replay = Some(row.get(3));
        }
        migrations_are_readable |= name == "migration" && select && schema.usage;
        if !missing.is_empty() {
            missing_privileges.push(format!("{} ON postrider.{name}", missing.join(", ")));
        }
    }
    let migrations = if migrations_are_readable {
        all(session, "select version from postrider.migration order by 1", &[]).await?
    } else {
        Vec::new()
    };
    let migrations = migrations.iter().map(|row| row.get(0)).collect();
    Ok(PostriderSchema { migrations, missing_privileges, owns_replay })
}

const DOING: &str = "looking at what is in the database";

async fn one(session: &Session, sql: &str, with: &[&(dyn ToSql + Sync)]) -> Result<Row, StoreError> {
    session.client().query_one(sql, with).await.map_err(StoreError::postgres(DOING))
}

async fn optional(
    session: &Session,
    sql: &str,
    with: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>, StoreError> {
    session.client().query_opt(sql, with).await.map_err(StoreError::postgres(DOING))
}

async fn all(session: &Session, sql: &str, with: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
    session.client().query(sql, with).await.map_err(StoreError::postgres(DOING))
}

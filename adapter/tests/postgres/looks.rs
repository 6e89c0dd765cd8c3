//! What is told of the cluster, and what is found before a move.

use super::steps::{adapter, migration, node, partition};
use crate::lab::{A, B, COLUMNS, Lab, PARTITION, ROUTER};
use isotherm_model::PartitionId;
use isotherm_proto::Health;

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_told_as_it_is() {
    let mut lab = Lab::start().await.unwrap();
    lab.rows(1_000).await.unwrap();
    let store = adapter(&lab).await;
    let cluster = store.cluster().await.unwrap();
    let names: Vec<&str> = cluster.partitions.keys().map(PartitionId::name).collect();
    assert_eq!(names, [PARTITION, "public.orders_2"]);
    let facts = &cluster.partitions[&partition(PARTITION)];
    assert_eq!(facts.nodes, [node(&lab, A)]);
    let size = lab.numbers(A, "SELECT pg_total_relation_size('orders_1')").await.unwrap();
    assert_eq!(facts.size_bytes, Some(u64::try_from(size[0]).unwrap()));
    let relation = &facts.locators[0].relations[0];
    assert_eq!(
        (relation.database.as_str(), relation.schema.as_str(), relation.name.as_str()),
        ("shop", "public", "orders_1")
    );
    assert!(cluster.nodes.values().all(|node| node.health == Health::Up && node.capacity_bytes.is_none()));

    lab.kill(A).unwrap();
    let cluster = store.cluster().await.unwrap();
    assert_eq!(cluster.nodes[&node(&lab, A)].health, Health::Down);
    assert_eq!(cluster.partitions[&partition(PARTITION)].size_bytes, None);
    lab.kill(ROUTER).unwrap();
    store.cluster().await.expect_err("without the router nobody knows what lies where");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_look_falls_between_two_states_of_the_router() {
    let lab = Lab::start().await.unwrap();
    let store = adapter(&lab).await;
    // As switches do it, and the removals after them.
    let exchanges = format!(
        "DO $$ BEGIN LOOP
            CREATE FOREIGN TABLE other {COLUMNS} SERVER pg_b OPTIONS (table_name 'orders_1');
            COMMIT;
            ALTER TABLE orders DETACH PARTITION orders_1;
            ALTER FOREIGN TABLE orders_1 RENAME TO aside;
            ALTER FOREIGN TABLE other RENAME TO orders_1;
            ALTER TABLE orders ATTACH PARTITION orders_1 FOR VALUES FROM (0) TO (1000000);
            COMMIT;
            DROP FOREIGN TABLE aside;
            COMMIT;
        END LOOP; END $$"
    );
    let looks = async {
        for look in 0..50 {
            let cluster = store.cluster().await.unwrap();
            let names: Vec<&str> = cluster.partitions.keys().map(PartitionId::name).collect();
            assert_eq!(names, [PARTITION, "public.orders_2"], "look {look}");
        }
    };
    tokio::select! {
        ended = lab.run_on(ROUTER, &exchanges) => panic!("the exchanges do not end by themselves: {ended:?}"),
        () = looks => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_found() {
    let lab = Lab::start().await.unwrap();
    let store = adapter(&lab).await;
    let found = async |word: &str| {
        let findings = store.validate(&migration(&lab, "m1", A, B)).await.unwrap().findings;
        assert!(findings.iter().any(|finding| finding.contains(word)), "{word}: {findings:?}");
        assert_eq!(findings.len(), 1, "{findings:?}");
    };
    let both = async |server, change: &str, word, back: &str| {
        lab.run_on(server, change).await.unwrap();
        found(word).await;
        lab.run_on(server, back).await.unwrap();
    };
    assert_eq!(store.validate(&migration(&lab, "m1", A, B)).await.unwrap().findings, Vec::<String>::new());
    let wrong_way = store.validate(&migration(&lab, "m1", B, A)).await.unwrap().findings;
    assert!(wrong_way[0].contains("name it as the source"), "{wrong_way:?}");

    let (drop, key) =
        ("ALTER TABLE orders_1 DROP CONSTRAINT orders_1_pkey", "ALTER TABLE orders_1 ADD PRIMARY KEY (id)");
    both(A, drop, "no primary key and no replica identity", key).await;
    both(B, "CREATE TABLE orders_1 AS SELECT 1", "already, with rows", "DROP TABLE orders_1").await;
    both(B, "CREATE TABLE orders_1 ()", "already, without rows", "DROP TABLE orders_1").await;
    let serial = "CREATE SEQUENCE s; ALTER TABLE orders_1 ALTER version SET DEFAULT nextval('s')";
    both(
        A,
        serial,
        "takes numbers from a sequence",
        "ALTER TABLE orders_1 ALTER version SET DEFAULT 0; DROP SEQUENCE s",
    )
    .await;
    let identity =
        "ALTER TABLE orders_1 ALTER version DROP DEFAULT, ALTER version ADD GENERATED ALWAYS AS IDENTITY";
    both(A, identity, "takes numbers from a sequence", "ALTER TABLE orders_1 ALTER version DROP IDENTITY")
        .await;
    let references = "CREATE TABLE line (id bigint REFERENCES orders_1)";
    both(A, references, "foreign keys", "DROP TABLE line").await;
    let trigger = "CREATE TRIGGER t BEFORE UPDATE ON orders_1 FOR EACH ROW \
        EXECUTE FUNCTION suppress_redundant_updates_trigger()";
    both(A, trigger, "has triggers", "DROP TRIGGER t ON orders_1").await;
    both(A, "CREATE PUBLICATION other FOR TABLE orders_1", "published to others", "DROP PUBLICATION other")
        .await;
    let unmapped = "DROP USER MAPPING FOR isotherm SERVER pg_b";
    both(ROUTER, unmapped, "no user mapping", "CREATE USER MAPPING FOR isotherm SERVER pg_b").await;
    let slots =
        "SELECT pg_create_logical_replication_slot('s' || n, 'pgoutput') FROM generate_series(1, 9) AS n";
    let free = "SELECT pg_drop_replication_slot('s' || n) FROM generate_series(1, 9) AS n";
    both(A, slots, "max_replication_slots", free).await;
    // Settings cannot be changed beside other statements.
    lab.run_on(B, "ALTER SYSTEM SET max_slot_wal_keep_size = -1").await.unwrap();
    lab.run_on(B, "SELECT pg_reload_conf(), pg_sleep(0.5)").await.unwrap();
    found("max_slot_wal_keep_size").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_the_router_stays_there() {
    let lab = Lab::start().await.unwrap();
    lab.run_on(ROUTER, "CREATE TABLE orders_3 PARTITION OF orders FOR VALUES FROM (2000000) TO (3000000)")
        .await
        .unwrap();
    let store = adapter(&lab).await;
    let refusal = store.holders(&partition("public.orders_3")).await.unwrap_err();
    assert!(refusal.message.contains("the router itself"), "{}", refusal.message);
    assert_eq!(store.cluster().await.unwrap().partitions[&partition("public.orders_3")].nodes, []);
}

//! The tables that a plugin brings.

/// One step of a plugin's own schema. Recorded under the plugin's file name and `version`; a recorded step never runs again.
pub struct CustomPluginMigration {
    /// Positive and ascending.
    pub version: i64,
    /// What operators see.
    pub name: &'static str,
    /// Kept beside the version, so that a later change of the text is noticed. Free text, `v1_create_audit_log_f8a3e1`.
    pub checksum: &'static str,
    /// Statements divided by `;`, for SQLite and wherever no other text is given.
    pub sql: &'static str,
    pub sql_postgres: Option<&'static str>,
    pub sql_mysql: Option<&'static str>,
}

impl CustomPluginMigration {
    /// The text for `FERRUM_DB_TYPE`.
    pub fn sql_for_db(&self, db_type: &str) -> &str {
        match db_type {
            "postgres" => self.sql_postgres.unwrap_or(self.sql),
            "mysql" => self.sql_mysql.unwrap_or(self.sql),
            _ => self.sql,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_gets_its_own_text_or_the_common_one() {
        let step = |sql_mysql| CustomPluginMigration {
            version: 1,
            name: "a",
            checksum: "v1_a_0",
            sql: "common",
            sql_postgres: Some("postgres"),
            sql_mysql,
        };
        let texts = |step: &CustomPluginMigration| {
            ["sqlite", "postgres", "mysql", "other"].map(|db| step.sql_for_db(db).to_owned())
        };
        assert_eq!(texts(&step(Some("mysql"))), ["common", "postgres", "mysql", "common"]);
        assert_eq!(texts(&step(None)), ["common", "postgres", "common", "common"]);
    }
}

//! The parameters of a statement, declared once.

/// Declares a struct of a statement's parameters and a struct of their placeholders.
///
/// The order of the fields numbers the parameters: their types, their values and their placeholders (`$1`, `$2`, ...)
/// all follow from it.
macro_rules! statement_parameters {
    (
        $(#[$meta:meta])*
        struct $parameters:ident / $placeholders:ident {
            $($(#[$doc:meta])* $name:ident: $rust:ty => $sql:ident,)*
        }
    ) => {
        $(#[$meta])*
        pub(crate) struct $parameters<'a> {
            $($(#[$doc])* pub(crate) $name: $rust,)*
        }

        /// The placeholder of each parameter.
        pub(crate) struct $placeholders {
            $(pub(crate) $name: String,)*
        }

        impl $parameters<'_> {
            pub(crate) fn types() -> Vec<tokio_postgres::types::Type> {
                vec![$(tokio_postgres::types::Type::$sql,)*]
            }

            pub(crate) fn placeholders() -> $placeholders {
                let mut number = 0;
                let mut next = || {
                    number += 1;
                    format!("${number}")
                };
                $placeholders { $($name: next(),)* }
            }

            pub(crate) fn values(&self) -> Vec<&(dyn tokio_postgres::types::ToSql + Sync)> {
                vec![$(&self.$name,)*]
            }
        }
    };
}

pub(crate) use statement_parameters;

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    statement_parameters! {
        struct Parameters / Placeholders {
            names: Vec<&'a str> => TEXT_ARRAY,
            count: i64 => INT8,
        }
    }

    #[test]
    fn statement_parameters_follow_the_order_of_the_fields() {
        let parameters = Parameters { names: vec!["a"], count: 1 };
        assert_eq!(Parameters::types(), [Type::TEXT_ARRAY, Type::INT8]);
        assert_eq!(format!("{:?}", parameters.values()), r#"[["a"], 1]"#);
        let Placeholders { names, count } = Parameters::placeholders();
        assert_eq!([names, count], ["$1", "$2"]);
    }
}

//! Katib's enumerations, each with room for a word it does not know.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// Any other word, the empty one included.
            Other(String),
        }

        impl $name {
            /// Every word of the enumeration, in Katib's order.
            pub const ALL: &'static [&'static str] = &[$($text),+];

            /// The word as it stands in an object.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(word) => word,
                }
            }

            /// Whether nothing was written.
            pub fn is_empty(&self) -> bool {
                self.as_str().is_empty()
            }

            /// Whether the word belongs to the enumeration.
            pub fn is_known(&self) -> bool {
                !matches!(self, Self::Other(_))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(deserializer)?.as_str()))
            }
        }
    };
}

words! {
    /// What a search parameter holds.
    ParameterType {
        /// A real number between min and max.
        Double = "double",
        /// A whole number between min and max.
        Int = "int",
        /// A number out of a list.
        Discrete = "discrete",
        /// A word out of a list.
        Categorical = "categorical",
        /// Katib's own "not known"; accepted by its webhook, used by no algorithm.
        Unknown = "unknown",
    }
}

words! {
    /// How values of a range are drawn.
    Distribution {
        /// Evenly.
        Uniform = "uniform",
        /// Evenly on the logarithm.
        LogUniform = "logUniform",
        /// Around the middle.
        Normal = "normal",
        /// Around the middle of the logarithms.
        LogNormal = "logNormal",
        /// Katib's own "not known".
        Unknown = "unknown",
    }
}

words! {
    /// Whether the objective is to grow or to shrink.
    ObjectiveType {
        /// Smaller is better.
        Minimize = "minimize",
        /// Greater is better.
        Maximize = "maximize",
    }
}

words! {
    /// Which of a metric's values stands for the trial.
    StrategyType {
        /// The smallest value reported.
        Min = "min",
        /// The greatest value reported.
        Max = "max",
        /// The newest value reported.
        Latest = "latest",
    }
}

words! {
    /// Where metrics come from.
    CollectorKind {
        /// Lines of the primary container's output.
        StdOut = "StdOut",
        /// Lines of a file.
        File = "File",
        /// TensorFlow event files of a directory.
        TensorFlowEvent = "TensorFlowEvent",
        /// A Prometheus endpoint (no image for it is shipped with Katib).
        PrometheusMetric = "PrometheusMetric",
        /// A container of the user's.
        Custom = "Custom",
        /// The training code reports by itself.
        Push = "Push",
    }
}

words! {
    /// What a file-system path points at.
    FileSystemKind {
        /// One file.
        File = "File",
        /// A directory.
        Directory = "Directory",
    }
}

words! {
    /// How a metrics file is written.
    FileFormat {
        /// Lines that the filters match.
        Text = "TEXT",
        /// One JSON object a line.
        Json = "JSON",
    }
}

words! {
    /// What becomes of the Suggestion when the Experiment ends.
    ResumePolicy {
        /// It is taken down; the Experiment can't be restarted.
        Never = "Never",
        /// It keeps running.
        LongRunning = "LongRunning",
        /// It is taken down, its volume stays.
        FromVolume = "FromVolume",
    }
}

words! {
    /// How an early-stopping rule compares.
    Comparison {
        /// Stop when equal.
        Equal = "equal",
        /// Stop when less.
        Less = "less",
        /// Stop when greater.
        Greater = "greater",
    }
}

//! Conversions between UCUM units.

/// `y = x * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// What a value is multiplied by.
    pub factor: f64,
    /// What is added then.
    pub offset: f64,
}

/// Why there is no conversion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No such unit.
    #[error("'{unit}' is not a UCUM unit")]
    Unknown {
        /// The code.
        unit: String,
        /// A code that may have been meant.
        hint: Option<String>,
    },
    /// The two measure different things.
    #[error("'{from}' cannot be converted to '{to}': they measure different things")]
    Dimension {
        /// The unit of the source.
        from: String,
        /// The unit that is wanted.
        to: String,
    },
    /// One of them is logarithmic or otherwise not a straight line.
    #[error("not supported yet: converting '{from}' to '{to}', which is not linear")]
    NotLinear {
        /// The unit of the source.
        from: String,
        /// The unit that is wanted.
        to: String,
    },
}

impl Conversion {
    /// Leaves values as they are.
    pub const IDENTITY: Self = Self { factor: 1.0, offset: 0.0 };

    /// The converted value.
    pub fn apply(self, value: f64) -> f64 {
        if self == Self::IDENTITY { value } else { value * self.factor + self.offset }
    }
}

impl UnitError {
    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unknown { hint, .. } => hint.as_deref(),
            Self::Dimension { .. } | Self::NotLinear { .. } => None,
        }
    }
}

/// Spellings that are common and no UCUM codes.
const USUAL: &[(&str, &str)] = &[
    ("degC", "Cel"),
    ("°C", "Cel"),
    ("C", "Cel"),
    ("celsius", "Cel"),
    ("degF", "[degF]"),
    ("°F", "[degF]"),
    ("F", "[degF]"),
    ("psi", "[psi]"),
    ("PSI", "[psi]"),
    ("rpm", "{rpm}/min"),
    ("RPM", "{rpm}/min"),
    ("sec", "s"),
    ("hr", "h"),
    ("hour", "h"),
    ("lpm", "L/min"),
    ("gpm", "[gal_us]/min"),
    ("gal", "[gal_us]"),
    ("inch", "[in_i]"),
    ("in", "[in_i]"),
    ("ft", "[ft_i]"),
    ("hp", "[HP]"),
    ("Bar", "bar"),
    ("barg", "bar"),
    ("m³/h", "m3/h"),
    ("m^3/h", "m3/h"),
    ("Nm", "N.m"),
    ("percent", "%"),
    ("kWh", "kW.h"),
    ("g-force", "[g]"),
];

/// Refuses what is no UCUM unit.
pub(super) fn validate(unit: &str) -> Result<(), UnitError> {
    octofhir_ucum::validate(unit).map_err(|error| {
        let usual = USUAL.iter().find(|(usual, _)| *usual == unit).map(|(_, code)| *code);
        let hint = usual.map(|code| format!("did you mean '{code}'?"));
        let hint = hint.or_else(|| {
            // The library's suggestions are sentences with the code in quotes.
            let code = error.suggestions.first()?.split('\'').nth(1)?;
            Some(format!("did you mean '{code}'?"))
        });
        UnitError::Unknown { unit: unit.to_owned(), hint }
    })
}

/// The conversion from one UCUM unit to another: exactly the identity when the codes are equal.
pub fn convert(from: &str, to: &str) -> Result<Conversion, UnitError> {
    validate(from)?;
    validate(to)?;
    if from == to {
        return Ok(Conversion::IDENTITY);
    }
    let both = || (from.to_owned(), to.to_owned());
    if !octofhir_ucum::is_comparable(from, to).unwrap_or(false) {
        let (from, to) = both();
        return Err(UnitError::Dimension { from, to });
    }
    let context = octofhir_ucum::AdvancedConversionContext::default();
    let converted = octofhir_ucum::convert_with_context(1.0, from, to, &context);
    match converted.ok().and_then(|result| Some((result.factor?, result.offset?))) {
        Some((factor, offset)) => {
            Ok(Conversion { factor: factor.to_f64(), offset: offset.to_f64() })
        }
        None => {
            let (from, to) = both();
            Err(UnitError::NotLinear { from, to })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str, factor: f64, offset: f64) {
        assert_eq!(convert(from, to).unwrap(), Conversion { factor, offset }, "{from} -> {to}");
    }

    #[test]
    fn conversions_are_affine_and_free_of_noise() {
        check("bar", "bar", 1.0, 0.0);
        check("Pa", "bar", 1e-5, 0.0);
        check("bar", "Pa", 1e5, 0.0);
        check("kPa", "bar", 0.01, 0.0);
        check("Cel", "K", 1.0, 273.15);
        check("Cel", "[degF]", 1.8, 32.0);
        check("[degF]", "Cel", 5.0 / 9.0, -160.0 / 9.0);
        check("m3/s", "m3/h", 3600.0, 0.0);
        check("L/min", "m3/h", 0.06, 0.0);
        check("%", "1", 0.01, 0.0);
        check("m/s2", "cm/s2", 100.0, 0.0);
        let psi = convert("[psi]", "bar").unwrap();
        assert!((psi.factor - 0.068_947_572_931_683).abs() < 1e-9, "{psi:?}");
        assert_eq!(convert("bar", "[psi]").unwrap().apply(40.0).round(), 580.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (from, to, expected) in [
            ("bar", "Cel", "'bar' cannot be converted to 'Cel': they measure different things"),
            ("degC", "Cel", "'degC' is not a UCUM unit"),
            ("W", "B[W]", "not supported yet: converting 'W' to 'B[W]', which is not linear"),
        ] {
            assert_eq!(convert(from, to).unwrap_err().to_string(), expected);
        }
        assert_eq!(convert("degC", "K").unwrap_err().hint(), Some("did you mean 'Cel'?"));
    }
}

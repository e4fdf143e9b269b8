//! Edits in the payload of a frame, byte by byte.
//!
//! ```text
//! edit         received at i64 | asset u32 | asset type u32 | action u8 | has user u8
//!              id | key | reason | user | action
//! 1 delete     from i64 | to i64 | metrics u32 | metric ..
//! 2 correct    points u32 | (event time i64 | quality u32 | device u32 | type u8 | metric | value) ..
//! value        8 bytes of a double, an integer or a bool; text of a string
//! ```

use super::error::Error;
use super::payload::{Input, put_bytes, put_length};
use crate::model::{Action, Corrected, Edit, Quality, Timestamp, TypeId, Value};

pub(super) fn put(out: &mut Vec<u8>, edit: &Edit) -> Result<(), Error> {
    out.extend_from_slice(&edit.received_at.0.to_le_bytes());
    out.extend_from_slice(&edit.asset.to_le_bytes());
    out.extend_from_slice(&edit.asset_type.0.to_le_bytes());
    out.push(match edit.action {
        Action::Delete { .. } => 1,
        Action::Correct { .. } => 2,
    });
    out.push(u8::from(edit.user.is_some()));
    for text in [&edit.id, &edit.key, &edit.reason] {
        put_bytes(out, text.as_bytes())?;
    }
    put_bytes(out, edit.user.as_deref().unwrap_or_default().as_bytes())?;
    match &edit.action {
        Action::Delete { metrics, from, to } => {
            out.extend_from_slice(&from.0.to_le_bytes());
            out.extend_from_slice(&to.0.to_le_bytes());
            put_length(out, metrics.len())?;
            metrics.iter().try_for_each(|metric| put_bytes(out, metric.as_bytes()))
        }
        Action::Correct { points } => {
            put_length(out, points.len())?;
            points.iter().try_for_each(|point| put_point(out, point))
        }
    }
}

fn put_point(out: &mut Vec<u8>, point: &Corrected) -> Result<(), Error> {
    out.extend_from_slice(&point.event_time.0.to_le_bytes());
    out.extend_from_slice(&point.quality.0.to_le_bytes());
    out.extend_from_slice(&point.device.to_le_bytes());
    out.push(match point.value {
        Value::Double(_) => 1,
        Value::Integer(_) => 2,
        Value::Bool(_) => 3,
        Value::String(_) => 4,
    });
    put_bytes(out, point.metric.as_bytes())?;
    match &point.value {
        Value::Double(value) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
        Value::Integer(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::Bool(value) => out.extend_from_slice(&u64::from(*value).to_le_bytes()),
        Value::String(text) => put_bytes(out, text.as_bytes())?,
    }
    Ok(())
}

pub(super) fn read(input: &mut Input<'_>) -> Result<Edit, String> {
    let received_at = Timestamp(input.u64()?.cast_signed());
    let (asset, asset_type) = (input.u32()?, TypeId(input.u32()?));
    let (action, has_user) = (input.u8()?, input.u8()? != 0);
    let (id, key, reason) = (input.text()?, input.text()?, input.text()?);
    let user = Some(input.text()?).filter(|_| has_user);
    let action = match action {
        1 => {
            let from = Timestamp(input.u64()?.cast_signed());
            let to = Timestamp(input.u64()?.cast_signed());
            let count = input.u32()?;
            let metrics = (0..count).map(|_| input.text()).collect::<Result<_, _>>()?;
            Action::Delete { metrics, from, to }
        }
        2 => {
            let count = input.u32()?;
            let points = (0..count).map(|_| point(input)).collect::<Result<_, _>>()?;
            Action::Correct { points }
        }
        other => return Err(format!("action {other} of an edit is not known")),
    };
    Ok(Edit { id, received_at, asset, asset_type, key, reason, user, action })
}

fn point(input: &mut Input<'_>) -> Result<Corrected, String> {
    let event_time = Timestamp(input.u64()?.cast_signed());
    let (quality, device) = (Quality(input.u32()?), input.u32()?);
    let data_type = input.u8()?;
    let metric = input.text()?;
    let value = match data_type {
        1 => Value::Double(f64::from_bits(input.u64()?)),
        2 => Value::Integer(input.u64()?.cast_signed()),
        3 => Value::Bool(input.u64()? != 0),
        4 => Value::String(input.text()?),
        other => return Err(format!("type {other} of a value is not known")),
    };
    Ok(Corrected { metric, event_time, value, quality, device })
}

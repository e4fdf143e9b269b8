//! Workbooks for Excel.

use super::super::error::Error;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rust_xlsxwriter::{Format, Workbook, XlsxError};
use std::io::Write;

/// Rows that Excel takes on a sheet. What comes after stands on further sheets, each with a header.
pub const SHEET_ROWS: u32 = 1_048_576;
/// Cells of a workbook: they wait in a temporary file until the last one is there.
pub const CELLS_MAX: u64 = 20_000_000;
/// Days between Excel's first one and 1970.
const UNTIL_1970: f64 = 25_569.0;
/// 1900-03-01 in microseconds since 1970: before that Excel counts a day that never was.
const FIRST_DATE: i64 = -2_203_891_200_000_000;
/// The first instant of the year 10000, which Excel does not know.
const LAST_DATE: i64 = 253_402_300_800_000_000;
/// Whole numbers beyond this lose digits as Excel's numbers.
const EXACT: u64 = 1 << 53;
const WIDTH_OF_TIMES: f64 = 23.0;

/// Writes rows to a workbook, which is a file when it is finished.
///
/// Times are Excel's, in UTC, to the millisecond as shown; times that Excel has not, numbers that
/// it would round or does not know, and values of other types are texts.
pub(super) struct Xlsx<W> {
    book: Workbook,
    schema: SchemaRef,
    sheet_rows: u32,
    sheet: usize,
    /// The next row of the sheet.
    row: u32,
    cells: u64,
    time: Format,
    out: W,
}

/// Values of a column as cells.
enum Cells<'a> {
    Numbers(ArrayRef),
    Whole(ArrayRef),
    Unsigned(ArrayRef),
    Bools(ArrayRef),
    Times(ArrayRef),
    Texts(&'a ArrayRef, ArrayFormatter<'a>),
}

enum Cell {
    Number(f64),
    Bool(bool),
    /// A day and a part of it.
    Time(f64),
    Text(String),
}

impl<W: Write + Send> Xlsx<W> {
    pub fn new(schema: SchemaRef, out: W) -> Result<Self, Error> {
        Self::with_sheets_of(SHEET_ROWS, schema, out)
    }

    fn with_sheets_of(sheet_rows: u32, schema: SchemaRef, out: W) -> Result<Self, Error> {
        let time = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss.000");
        let book = Workbook::new();
        let mut xlsx = Self { book, schema, sheet_rows, sheet: 0, row: 0, cells: 0, time, out };
        xlsx.add_sheet()?;
        Ok(xlsx)
    }

    fn add_sheet(&mut self) -> Result<(), Error> {
        let sheet = self.book.add_worksheet_with_constant_memory().map_err(failed)?;
        sheet.set_freeze_panes(1, 0).map_err(failed)?;
        let bold = Format::new().set_bold();
        for (at, field) in self.schema.fields().iter().enumerate() {
            let at = u16::try_from(at).map_err(|_| failed(XlsxError::RowColumnLimitError))?;
            if matches!(field.data_type(), DataType::Timestamp(..)) {
                sheet.set_column_width(at, WIDTH_OF_TIMES).map_err(failed)?;
            }
            sheet.write_string_with_format(0, at, field.name(), &bold).map_err(failed)?;
        }
        self.row = 1;
        Ok(())
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.cells += batch.num_rows() as u64 * batch.num_columns() as u64;
        if self.cells > CELLS_MAX {
            let message = format!("more than {CELLS_MAX} cells for a workbook");
            return Err(Error::limit(message, "take csv or parquet, or ask for fewer rows"));
        }
        let how = FormatOptions::default();
        let columns = batch.columns().iter().map(|column| Cells::of(column, &how));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if self.row == self.sheet_rows {
                self.sheet += 1;
                self.add_sheet()?;
            }
            let sheet = self.book.worksheet_from_index(self.sheet).map_err(failed)?;
            for (at, column) in columns.iter().enumerate() {
                let Some(cell) = column.cell(row) else { continue };
                let (line, at) = (self.row, at as u16);
                let written = match cell {
                    Cell::Number(number) => sheet.write_number(line, at, number),
                    Cell::Bool(value) => sheet.write_boolean(line, at, value),
                    Cell::Time(days) => sheet.write_number_with_format(line, at, days, &self.time),
                    Cell::Text(text) => sheet.write_string(line, at, text),
                };
                written.map_err(failed)?;
            }
            self.row += 1;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<W, Error> {
        self.book.save_to_writer(&mut self.out).map_err(failed)?;
        Ok(self.out)
    }
}

impl<'a> Cells<'a> {
    fn of(column: &'a ArrayRef, how: &'a FormatOptions<'a>) -> Result<Self, Error> {
        let to = |of: &DataType| cast(column, of).map_err(Error::failed);
        Ok(match column.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                Self::Numbers(to(&DataType::Float64)?)
            }
            DataType::UInt64 => Self::Unsigned(to(&DataType::UInt64)?),
            of if of.is_integer() => Self::Whole(to(&DataType::Int64)?),
            DataType::Boolean => Self::Bools(to(&DataType::Boolean)?),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                Self::Times(to(&DataType::Timestamp(TimeUnit::Microsecond, None))?)
            }
            _ => {
                let texts = ArrayFormatter::try_new(column, how).map_err(Error::failed)?;
                Self::Texts(column, texts)
            }
        })
    }

    fn cell(&self, row: usize) -> Option<Cell> {
        let text = |value: &dyn std::fmt::Display| Cell::Text(value.to_string());
        match self {
            Self::Numbers(column) => column.is_valid(row).then(|| {
                let number = column.as_primitive::<Float64Type>().value(row);
                if number.is_finite() { Cell::Number(number) } else { text(&number) }
            }),
            Self::Whole(column) => column.is_valid(row).then(|| {
                let number = column.as_primitive::<Int64Type>().value(row);
                let exact = number.unsigned_abs() <= EXACT;
                if exact { Cell::Number(number as f64) } else { text(&number) }
            }),
            Self::Unsigned(column) => column.is_valid(row).then(|| {
                let number = column.as_primitive::<UInt64Type>().value(row);
                if number <= EXACT { Cell::Number(number as f64) } else { text(&number) }
            }),
            Self::Bools(column) => {
                column.is_valid(row).then(|| Cell::Bool(column.as_boolean().value(row)))
            }
            Self::Times(column) => column.is_valid(row).then(|| {
                let time = column.as_primitive::<TimestampMicrosecondType>().value(row);
                match time {
                    FIRST_DATE..LAST_DATE => Cell::Time(time as f64 / 86_400e6 + UNTIL_1970),
                    _ => text(&crate::model::Timestamp(time)),
                }
            }),
            Self::Texts(column, texts) => column.is_valid(row).then(|| text(&texts.value(row))),
        }
    }
}

fn failed(error: XlsxError) -> Error {
    match error {
        XlsxError::MaxStringLengthExceeded => {
            Error::limit("a text is longer than Excel's 32767 characters", "take another form")
        }
        XlsxError::RowColumnLimitError => {
            Error::limit("more columns than Excel's 16384", "select fewer, or take another form")
        }
        error => Error::failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use calamine::{Data, Reader, open_workbook_from_rs};
    use std::io::Cursor;
    use std::sync::Arc;

    #[test]
    fn rows_that_a_sheet_does_not_take_stand_on_the_next_one() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut xlsx = Xlsx::with_sheets_of(4, batch.schema(), Vec::new()).unwrap();
        xlsx.write(&batch.slice(0, 5)).unwrap();
        xlsx.write(&batch.slice(5, 5)).unwrap();
        let bytes = xlsx.finish().unwrap();
        let mut book: calamine::Xlsx<_> = open_workbook_from_rs(Cursor::new(bytes)).unwrap();
        let mut found = Vec::new();
        for sheet in book.worksheets() {
            let rows: Vec<Vec<Data>> = sheet.1.rows().map(<[Data]>::to_vec).collect();
            assert_eq!(rows[0], [Data::String("n".into())]);
            found.push(rows[1..].to_vec());
        }
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        let expected: Vec<Vec<Data>> = (0..10).map(|n| vec![Data::Float(f64::from(n))]).collect();
        assert_eq!(found.concat(), expected);
    }

    #[test]
    fn what_excel_does_not_know_is_text() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY]));
        let whole: ArrayRef = Arc::new(Int64Array::from(vec![-5, i64::MAX, 1 << 53]));
        let times = vec![1_700_000_000_123_000, -9_000_000_000_000_000, 0];
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("=1+1"), None, Some("a<b>\u{1}")]));
        let columns = [("f", numbers), ("i", whole), ("t", times), ("s", texts)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut xlsx = Xlsx::new(batch.schema(), Vec::new()).unwrap();
        xlsx.write(&batch).unwrap();
        let bytes = xlsx.finish().unwrap();
        let mut book: calamine::Xlsx<_> = open_workbook_from_rs(Cursor::new(bytes)).unwrap();
        let sheet = book.worksheet_range_at(0).unwrap().unwrap();
        let cell = |row: u32, column: u32| sheet.get_value((row, column)).unwrap().clone();
        let text = |text: &str| Data::String(text.into());
        assert_eq!(
            [cell(1, 0), cell(2, 0), cell(3, 0)],
            [Data::Float(1.5), text("NaN"), text("inf")]
        );
        let exact = Data::Float((1_u64 << 53) as f64);
        let expected = [Data::Float(-5.0), text("9223372036854775807"), exact];
        assert_eq!([cell(1, 1), cell(2, 1), cell(3, 1)], expected);
        assert!(matches!(cell(1, 2), Data::DateTime(_)), "{:?}", cell(1, 2));
        assert_eq!(cell(2, 2), text("1684-10-19T08:00:00Z"));
        assert_eq!([cell(1, 3), cell(2, 3)], [text("=1+1"), Data::Empty]);
    }
}

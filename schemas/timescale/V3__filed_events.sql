-- Old events leave the memory of Millstream for files, and are not told anew each time a connection begins.

ALTER TABLE system_events ADD COLUMN filed bigint;  -- epoch of the file that has the row; null: in memory, as far as known

//! Where mail goes and under which sender: tables, SRS planning, loops, trace headers.

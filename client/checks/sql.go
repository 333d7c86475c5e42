package checks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// SQL returns a check that runs query on db and reads its first row whole. It fails when the query fails, returns
// no row, or has no answer in time. A good query reads, in a millisecond, a table that the program cannot do
// without: "SELECT 1 FROM orders LIMIT 1", or "SELECT 1 FROM schema_version" where orders may be empty.
//
// A query is needed because db.PingContext proves little: many drivers only look whether they have a connection,
// and SQLite's succeeds when its file is gone. What must be writable needs a statement that writes and returns
// a row ("UPDATE … RETURNING").
//
// The query takes a connection from the pool of db, as the program's own queries do: a pool without a free
// connection is a failure, and the message says so. It ends with its context if the driver knows contexts.
func SQL(name string, db *sql.DB, query string) Check {
	c := &readymade{name: name, run: func(ctx context.Context) error { return runQuery(ctx, db, query) }}
	switch {
	case db == nil:
		c.err = errors.New("SQL needs a database; it is nil")
	case strings.TrimSpace(query) == "":
		c.err = errors.New("SQL needs a query; it is empty")
	}
	return c
}

func runQuery(ctx context.Context, db *sql.DB, query string) error {
	a := begin(ctx)
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		if stats := db.Stats(); a.isLate(err) && stats.MaxOpenConnections > 0 && stats.InUse >= stats.MaxOpenConnections {
			return a.late(fmt.Sprintf("no connection to the database was free (%d of %d in use)", stats.InUse, stats.MaxOpenConnections))
		}
		return a.query(err)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return a.query(err)
		}
		return errors.New("the query returned no row")
	}
	columns, err := rows.Columns()
	if err != nil {
		return a.query(err)
	}
	row := make([]any, len(columns))
	for i := range row {
		row[i] = new(any)
	}
	if err := rows.Scan(row...); err != nil {
		return a.query(err)
	}
	if err := rows.Close(); err != nil {
		return a.query(err)
	}
	return nil
}

func (a attempt) query(err error) error {
	if a.isLate(err) {
		return a.late("no answer from the database")
	}
	return &wordedError{"the query failed: " + foreign(err.Error()), err}
}

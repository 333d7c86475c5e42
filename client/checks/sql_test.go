package checks

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"
)

// fakeDB is a driver whose answers a test decides.
type fakeDB struct {
	query func(ctx context.Context, query string) (driver.Rows, error)
}

func (f *fakeDB) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, nil }
func (f *fakeDB) Driver() driver.Driver                        { return nil }

type fakeConn struct{ db *fakeDB }

func (c fakeConn) QueryContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	return c.db.query(ctx, query)
}
func (c fakeConn) Ping(context.Context) error          { return nil }
func (c fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no statements") }
func (c fakeConn) Close() error                        { return nil }
func (c fakeConn) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }

type fakeRows struct {
	rows     int
	next     error // at the row after the last one
	closeErr error
	closed   *int
}

func (r *fakeRows) Columns() []string { return []string{"a", "b"} }
func (r *fakeRows) Next(dest []driver.Value) error {
	if r.rows == 0 {
		if r.next != nil {
			return r.next
		}
		return io.EOF
	}
	r.rows--
	dest[0], dest[1] = int64(1), []byte("x")
	return nil
}
func (r *fakeRows) Close() error {
	if r.closed != nil {
		*r.closed++
	}
	return r.closeErr
}

func openFake(t *testing.T, query func(ctx context.Context, query string) (driver.Rows, error)) *sql.DB {
	t.Helper()
	db := sql.OpenDB(&fakeDB{query})
	t.Cleanup(func() { db.Close() })
	return db
}

func rowsOf(r fakeRows) func(context.Context, string) (driver.Rows, error) {
	return func(context.Context, string) (driver.Rows, error) { return &r, nil }
}

func TestSQL(t *testing.T) {
	closed := 0
	db := openFake(t, func(_ context.Context, query string) (driver.Rows, error) {
		if query != "SELECT a, b FROM t" {
			return nil, errors.New("no such table: " + query)
		}
		return &fakeRows{rows: 3, closed: &closed}, nil
	})
	for range 50 {
		wantOK(t, within(t, SQL("db", db, "SELECT a, b FROM t"), ample))
	}
	if n := db.Stats().InUse; n != 0 || closed != 50 {
		t.Errorf("%d connections are in use and %d of 50 rows closed", n, closed)
	}
	// Ping succeeds, the query fails: that is why there is one.
	wantOK(t, db.PingContext(t.Context()))
	wantFailure(t, within(t, SQL("db", db, "SELECT 2"), ample), "the query failed: no such table: SELECT 2")
	wantFailure(t, within(t, SQL("db", openFake(t, rowsOf(fakeRows{})), "q"), ample), "no row")
	wantFailure(t, within(t, SQL("db", openFake(t, rowsOf(fakeRows{next: errors.New("disk I/O error")})), "q"), ample), "disk I/O error")
	wantFailure(t, within(t, SQL("db", openFake(t, rowsOf(fakeRows{rows: 1, closeErr: errors.New("is corrupt")})), "q"), ample), "is corrupt")
}

func TestSQLThatHangs(t *testing.T) {
	begun := make(chan struct{}, 2)
	db := openFake(t, func(ctx context.Context, _ string) (driver.Rows, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, errors.New("interrupted") // drivers have words of their own for it
	})
	wantLate(t, within(t, SQL("db", db, "q"), hang), "no answer from the database")
	select {
	case <-begun:
	default: // a busy machine may have had no time to begin
	}
	stopped(t, SQL("db", db, "q"), begun)
}

func TestSQLWithoutAFreeConnection(t *testing.T) {
	db := openFake(t, rowsOf(fakeRows{rows: 1}))
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantLate(t, within(t, SQL("db", db, "q"), hang), "no connection to the database was free (1 of 1 in use)")
	conn.Close()
	wantOK(t, within(t, SQL("db", db, "q"), ample))
}

func TestSQLOfNothing(t *testing.T) {
	refuses(t, SQL("db", nil, "SELECT 1"), "needs a database")
	refuses(t, SQL("db", openFake(t, rowsOf(fakeRows{})), ""), "needs a query")
	refuses(t, SQL("db", openFake(t, rowsOf(fakeRows{})), " \n"), "needs a query")
}

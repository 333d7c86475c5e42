package checks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rollcallhq/rollcall/client/checks"
)

// Checks of a shop: its database, which it cannot do without, and a payment service, which is shown only.
func ExampleSQL() {
	var db *sql.DB // the program's
	r := checks.NewRunner()
	err := errors.Join(
		r.Add("", checks.SQL("database", db, "SELECT 1 FROM orders LIMIT 1"), checks.Timeout(2*time.Second)),
		r.Add("", checks.HTTP("payments", "https://pay.example.com/healthz", checks.HTTPBody("ok"))),
		r.Add("", checks.CertEndpoint("payments certificate", "pay.example.com:443")),
		r.Add("", checks.Command("raid", []string{"/usr/lib/nagios/plugins/check_raid"}), checks.NonCritical()),
	)
	fmt.Println(err)
}

// A worker says after each round that it is well.
func ExampleTTL() {
	worker := checks.NewTTL("worker", 30*time.Second)
	fmt.Println(worker.Check(context.Background()))
	worker.OK()
	fmt.Println(worker.Check(context.Background()))
	worker.Fail(errors.New("the queue is gone"))
	fmt.Println(worker.Check(context.Background()))
	// Output:
	// nothing was reported yet
	// <nil>
	// the queue is gone
}

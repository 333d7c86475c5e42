package host_test

import (
	"errors"
	"log"

	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/checks/host"
)

func Example() {
	r := checks.NewRunner()
	if err := errors.Join(
		r.Add("", host.Disk("disk", "/var/lib/shop", host.FreeBytes(10<<30, 1<<30))),
		r.Add("", host.Memory("memory")),
		r.Add("", host.Load("load", 2, 4)),
	); err != nil {
		log.Fatal(err)
	}
}

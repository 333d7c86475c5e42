package sse

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that are parallel wait most of the time: six at once on two cores.
	if f := flag.Lookup("test.parallel"); f.Value.String() == "2" {
		f.Value.Set("6")
	}
	goleak.VerifyTestMain(m)
}

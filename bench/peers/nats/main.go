// Command nats runs NATS' server from a configuration file, built from the version that go.mod names.
package main

import (
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: nats CONFIGURATION-FILE"))
	}
	opts, err := server.ProcessConfigFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fail(err)
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "nats:", err)
	os.Exit(1)
}

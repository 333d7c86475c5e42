package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
)

// TestSwitchesAreLogged: whoever reads the agent's log finds out why a service that is well serves nobody. Of many at
// once there is one line.
func TestSwitchesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := newFakeRegistry()
		of := []config.Service{watched("x", checked("c", "1", &probe{}))}
		for i := range maxSwitches + 1 {
			of = append(of, watched(fmt.Sprint("many/", i), checked("c", "1", &probe{})))
		}
		reg.set("x", serving)
		start(t, reg, file(of...), func(a *Agent) { a.logger = slog.New(slog.NewTextHandler(&log, nil)) })
		wantLog := func(want ...string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			var got []string
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "switched") {
					_, line, _ = strings.Cut(line, "level=INFO ")
					got = append(got, strings.TrimSpace(line))
				}
			}
			log.Reset()
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		wantLog()
		reg.override("x", notServing)
		wantLog(`msg="the registry has switched a service off" service=x reason="the registry has x switched off by an override of x by ann: maintenance"`)
		reg.set("unknown", notServing) // something else changes
		wantLog()
		reg.override("x", missing)
		wantLog(`msg="the registry has switched a service on again" service=x`)
		reg.override("x/"+address, notServing)
		wantLog(`msg="the registry has switched a service off" service=x reason="the registry has x/` + address + ` switched off by an override of x/` + address + ` by ann: maintenance"`)
		reg.override("x/"+address, missing)
		wantLog(`msg="the registry has switched a service on again" service=x`)
		reg.override("many/*", notServing)
		wantLog(fmt.Sprintf(`msg="the registry has switched many services off" services=%d`, maxSwitches+1))
		reg.override("many/*", missing)
		wantLog(fmt.Sprintf(`msg="the registry has switched many services on again" services=%d`, maxSwitches+1))
	})
}

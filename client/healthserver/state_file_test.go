package healthserver

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/client"
)

// restart makes a Server on the state file path and returns what it says in its log.
func restart(t *testing.T, path string, src *fakeSource, opts ...Option) (*Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s := mustNew(t, append([]Option{
		withRegistry(src, &fakeLease{}), WithInstance(address), WithStateFile(path), WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
	}, opts...)...)
	return s, &log
}

func TestTheStateFileKeepsOff(t *testing.T) {
	for _, test := range []struct {
		name   string
		before map[string]opinion
		off    bool
	}{
		{"service", map[string]opinion{service: report(client.NotServing, ""), instance: absent()}, true},
		{"instance", map[string]opinion{service: absent(), instance: overridden(client.NotServing)}, true},
		{"own report", map[string]opinion{service: absent(), instance: report(client.NotServing, "lease-1")}, false},
		{"on", map[string]opinion{service: absent(), instance: absent()}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			bubble(t, func(t *testing.T) {
				src := newFakeSource()
				src.say(test.before)
				s, _ := restart(t, path, src)
				run(t, s)
				synctest.Wait()
			})
			bubble(t, func(t *testing.T) { // the registry is silent
				s, log := restart(t, path, newFakeSource())
				run(t, s)
				want := client.Serving
				if test.off {
					want = client.NotServing
				}
				time.Sleep(time.Hour)
				wantStatus(t, s, "", want)
				if strings.Contains(log.String(), "state file") {
					t.Errorf("log: %s", log)
				}
			})
			bubble(t, func(t *testing.T) { // the registry has switched it on meanwhile
				src := newFakeSource()
				s, _ := restart(t, path, src)
				run(t, s)
				time.Sleep(time.Hour)
				src.say(map[string]opinion{service: absent(), instance: report(client.Serving, "lease-2")})
				synctest.Wait()
				wantStatus(t, s, "", client.Serving)
			})
			bubble(t, func(t *testing.T) {
				s, _ := restart(t, path, newFakeSource(), WithInitialWait(0))
				wantStatus(t, s, "", client.Serving)
			})
		})
	}
}

// bubble runs do in virtual time, and waits for what it started.
func bubble(t *testing.T, do func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, do)
}

// What the file says is one cluster's: another one does not undo it by not knowing it.
func TestTheStateFileNamesTheCluster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	o := overridden(client.NotServing)
	end := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	o.Record.Override.ExpireTime = timestamppb.New(end)
	bubble(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(map[string]opinion{service: absent(), instance: o})
		s, _ := restart(t, path, src)
		run(t, s)
		synctest.Wait()
	})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{service, address, clusterA, "shop/*", "2100-01-01"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the file has no %s: %s", part, text)
		}
	}
	bubble(t, func(t *testing.T) {
		src := newFakeSource()
		restart(t, path, src)
		got := src.opinions[instance]
		if !got.Off || !got.Heard || got.Cluster != clusterA || got.Revision != 7 || got.Record.GetOverride().GetPattern() != "shop/*" ||
			!got.Record.GetOverride().GetExpireTime().AsTime().Equal(end) {
			t.Errorf("the view begins with %+v", got)
		}
	})
}

// A file that cannot be used harms nothing: one line in the log, and the Server serves. What is not its own stays as it is.
func TestAStateFileThatCannotBeUsed(t *testing.T) {
	valid := `{"rollcall_health_state":1,"service":"shop/checkout","instance":"10.0.0.7:8080","off":[{"name":"shop/checkout","cluster":"cluster-a","revision":7}]}`
	for _, test := range []struct {
		name, content string
		stays         bool
	}{
		{"empty", "", false},
		{"zeros after a loss of power", strings.Repeat("\x00", 100), false},
		{"cut off", valid[:80], false},
		{"twice", valid + valid, false},
		{"another name is off", strings.Replace(valid, `"name":"shop/checkout"`, `"name":"shop/cart"`, 1), false},
		{"instance off without an override", strings.Replace(valid, `"name":"shop/checkout"`, `"name":"shop/checkout/10.0.0.7:8080"`, 1), false},
		{"another service", strings.Replace(valid, "shop/checkout", "shop/cart", 1), true},
		{"another instance", strings.Replace(valid, "10.0.0.7", "10.0.0.8", 1), true},
		{"a newer version", strings.Replace(valid, `state":1`, `state":2`, 1), true},
		{"something else", "root:x:0:0:root:/root:/bin/sh\n", true},
		{"other JSON", `{"service":"shop/checkout"}`, true},
		{"huge", valid + strings.Repeat(" ", maxStateBytes), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			bubble(t, func(t *testing.T) {
				src := newFakeSource()
				src.say(map[string]opinion{service: absent(), instance: absent()})
				s, log := restart(t, path, src)
				run(t, s)
				synctest.Wait()
				wantStatus(t, s, "", client.Serving)
				for range 3 {
					src.say(map[string]opinion{service: report(client.NotServing, "")})
					synctest.Wait()
					wantStatus(t, s, "", client.NotServing)
					src.say(map[string]opinion{service: absent()})
					synctest.Wait()
				}
				if n := strings.Count(log.String(), "the state file"); n != 1 {
					t.Errorf("%d lines of it in the log: %s", n, log)
				}
			})
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if stays := string(after) == test.content; stays != test.stays {
				t.Errorf("it holds %q", after)
			}
		})
	}
}

func TestAStateFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, path := range map[string]string{
		"a directory":            dir,
		"no directory":           filepath.Join(dir, "missing", "state"),
		"in a file":              filepath.Join(file, "state"),
		"a socket":               socket,
		"the temporary is taken": filepath.Join(dir, "state"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Join(dir, "state.tmp", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			bubble(t, func(t *testing.T) {
				src := newFakeSource()
				src.say(map[string]opinion{service: report(client.NotServing, ""), instance: absent()})
				s, log := restart(t, path, src)
				run(t, s)
				synctest.Wait()
				wantStatus(t, s, "", client.NotServing)
				src.say(map[string]opinion{service: absent()})
				synctest.Wait()
				wantStatus(t, s, "", client.Serving)
				if n := strings.Count(log.String(), "the state file"); n != 1 {
					t.Errorf("%d lines of it in the log: %s", n, log)
				}
			})
		})
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().IsRegular() {
		t.Errorf("the socket is %v, %v", info, err)
	}
}

package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/client/checks"
)

// TestEqual changes each key of a service that has them all, one at a time: the service and, where a check changed,
// that check alone are not equal any more.
func TestEqual(t *testing.T) {
	before := accept(t, everyKey).Services[0]
	for _, c := range []struct {
		from, to string
		check    string // whose Spec must change; "": none
	}{
		{"name: shop/checkout", "name: shop/cart", ""},
		{"10.0.0.7:8081", "10.0.0.7:8082", ""},
		{"on_stop: withdraw", "on_stop: leave", ""},
		{"push: true\n  readiness", "readiness", ""},
		{"example.com/ready", "example.com/up", ""},
		{"http://127.0.0.1:8080/healthz", "http://127.0.0.1:8080/health", "front"},
		{"method: POST", "method: PUT", "front"},
		{"[200, 204]", "[200]", "front"},
		{"[200, 204]", "[200, 205]", "front"},
		{"body: all well", "body: well", "front"},
		{"      body: all well\n", "", "front"},
		{"X-Probe: \"1\"", "X-Probe: \"2\"", "front"},
		{"X-Probe:", "X-Prove:", "front"},
		{", X-Probe: \"1\"", "", "front"},
		{"follow_redirects: true", "follow_redirects: false", "front"},
		{"interval: 5s", "interval: 6s", "front"},
		{"timeout: 2s", "timeout: 3s", "front"},
		{"rise: 1\n", "rise: 2\n", "front"},
		{"fall: 3", "fall: 4", "front"},
		{"critical: false", "critical: true", "front"},
		{"    critical: false\n", "", "front"},
		{"tcp: {address: 127.0.0.1:5432}", "tcp: {address: 127.0.0.1:5433}", "tcp"},
		{"127.0.0.1:9090", "127.0.0.1:9091", "grpc"},
		{"service: shop", "service: shops", "grpc"},
		{"db.example.com.", "db2.example.com.", "dns"},
		{"addresses: [10.0.0.9,", "addresses: [10.0.0.8,", "dns"},
		{"10%", "11%", "command"},
		{"[check_disk, -w,", "[check_disk -w,", "command"},
		{", \"\"]", "]", "command"},
		{"dir: /tmp", "dir: /", "command"},
		{"LC_ALL: C", "LC_ALL: D", "command"},
		{"shop.dump", "shop2.dump", "file"},
		{"1d1h", "1d2h", "file"},
		{"shop.pem", "shop2.pem", "cert"},
		{"warn_before: 21d", "warn_before: 22d", "cert"},
		{"fail_before: 2d", "fail_before: 3d", "cert"},
		{"path: /,", "path: /tmp,", "disk"},
		{"12.5", "12.6", "disk"},
		{"2GiB", "3GiB", "disk"},
		{"1MiB", "2MiB", "memory"},
		{"warn: 1.5", "warn: 1.6", "load"},
		{"fail: 3}", "fail: 4}", "load"},
		{"after: 30s", "after: 31s", "ttl"},
	} {
		text := strings.Replace(everyKey, c.from, c.to, 1)
		if text == everyKey {
			t.Fatalf("everyKey has no %q", c.from)
		}
		after := accept(t, text).Services[0]
		if before.Equal(&after) || after.Equal(&before) {
			t.Errorf("%s: %s is the same service", c.from, c.to)
		}
		var changed []string
		for i, check := range after.Checks {
			if !check.Equal(before.Checks[i]) {
				changed = append(changed, check.Name)
			}
		}
		if want := strings.Fields(c.check); !slices.Equal(changed, want) {
			t.Errorf("%s: %s changes the checks %v, want %v", c.from, c.to, changed, want)
		}
	}
}

// TestEqualOfAnotherForm has files that say the same in other words.
func TestEqualOfAnotherForm(t *testing.T) {
	before := accept(t, everyKey).Services[0]
	for _, c := range [][2]string{
		{"after: 30s", "after: 0.5m"},
		{"1d1h", "25h"},
		{"1073741824", "1GiB"},
		{"12.5", "12.50"},
		{"fall: 3", "fall: '3'"},
		{"rise: 1\n    fall: 3", "fall: 3\n    rise: 1"},
		{"defaults: {interval: 10s, ", "# a remark\ndefaults: {interval: 10s, "},
		{"service: shop}", "service: \"shop\"}"},
		{"LC_ALL: C, EMPTY: \"\"", "LC_ALL: C, EMPTY: ''"},
		{"instance: 10.0.0.7:8080", "instance: 10.9.9.9:1"},
	} {
		text := strings.Replace(everyKey, c[0], c[1], 1)
		if text == everyKey {
			t.Fatalf("everyKey has no %q", c[0])
		}
		if after := accept(t, text).Services[0]; !before.Equal(&after) {
			t.Errorf("%s: %s is another service", c[0], c[1])
		}
	}
}

// TestDefaultsAreOfEachCheck: a change of defaults changes the checks that have no value of their own, but not the ttl
// check, which one word of the program turns.
func TestDefaultsAreOfEachCheck(t *testing.T) {
	before := accept(t, everyKey).Services[0]
	after := accept(t, strings.Replace(everyKey, "interval: 10s", "interval: 11s", 1)).Services[0]
	for i, c := range after.Checks {
		own := c.Name == "front" || c.Kind == "ttl"
		if c.Equal(before.Checks[i]) != own {
			t.Errorf("%s: equal is %t", c.Name, !own)
		}
	}
}

// TestReorderedChecks: the order of checks is that of the file and counts, so that the page can show it.
func TestReorderedChecks(t *testing.T) {
	one, two := accept(t, check("load: {}\n  - memory: {}")).Services[0], accept(t, check("memory: {}\n  - load: {}")).Services[0]
	if one.Equal(&two) || !one.Checks[0].Equal(two.Checks[1]) {
		t.Errorf("%+v\n%+v", one, two)
	}
}

func TestSpecTellsNoSecret(t *testing.T) {
	c := accept(t, check("http: {url: 'http://ann:secret@127.0.0.1/', headers: {Authorization: Bearer secret}}")).Services[0].Checks[0]
	if len(c.Spec) != 64 || strings.Contains(fmt.Sprint(c.Spec), "secret") {
		t.Error(c.Spec)
	}
}

func TestNeedsRestart(t *testing.T) {
	before := accept(t, everyKey)
	for _, c := range [][3]string{
		{"10.0.0.1:7600", "10.0.0.2:7600", "[cluster.endpoints]"},
		{"[ca.pem, old-ca.pem]", "ca.pem", "[cluster.ca, cert or key]"},
		{"agent.crt", "other.crt", "[cluster.ca, cert or key]"},
		{"agent.key", "other.key", "[cluster.ca, cert or key]"},
		{"agent.token", "other.token", "[cluster.token_file]"},
		{"[ca.pem, old-ca.pem]", "[ca.pem, 'old-ca.pem']", "[]"},
		{"instance: 10.0.0.7:8080", "instance: 10.0.0.8:8080", "[instance]"},
		{"ttl: 45s", "ttl: 46s", "[ttl]"},
		{"forget_after: 7d", "forget_after: 8d", "[forget_after]"},
		{"grpc: 127.0.0.1:7610", "grpc: 127.0.0.1:7611", "[listen.grpc]"},
		{"http: \"[::1]:7612\"", "http: \"[::1]:7613\"", "[listen.http]"},
		{"allow_remote_push: true", "allow_remote_push: false", "[listen.allow_remote_push]"},
		{"/var/run/token", "/var/run/tokens", "[kubernetes]"},
		{"/etc/podinfo", "/etc/pod", "[kubernetes]"},
		{"example.com/ready", "example.com/up", "[readiness_gate]"},
		{"  readiness_gate: example.com/ready\n", "", "[readiness_gate]"},
		{"ttl: 45s\nforget_after: 7d\n", "", "[ttl forget_after]"},
		{"interval: 10s", "interval: 11s", "[]"},
		{"on_stop: withdraw", "on_stop: leave", "[]"},
		{"services:\n", "services:\n- name: shop/cart\n", "[]"},
	} {
		text := strings.Replace(everyKey, c[0], c[1], 1)
		if text == everyKey {
			t.Fatalf("everyKey has no %q", c[0])
		}
		if got := fmt.Sprint(before.NeedsRestart(accept(t, text))); got != c[2] {
			t.Errorf("%s: %s needs a restart for %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

// TestBoundsAreThoseOfChecks: what the file may say a Runner takes, and what it may not say a Runner refuses.
func TestBoundsAreThoseOfChecks(t *testing.T) {
	r := checks.NewRunner()
	add := func(name string, o ...checks.CheckOption) error {
		return r.Add("shop", checks.FileAge(name, "/x", 1), o...)
	}
	for i, o := range []checks.CheckOption{checks.Interval(minInterval), checks.Interval(maxTime), checks.Timeout(1), checks.Timeout(maxTime)} {
		if err := add(fmt.Sprint("good ", i), o); err != nil {
			t.Error(err)
		}
	}
	for i, o := range []checks.CheckOption{checks.Interval(minInterval - 1), checks.Interval(maxTime + 1), checks.Timeout(0), checks.Timeout(maxTime + 1)} {
		if add(fmt.Sprint("bad ", i), o) == nil {
			t.Errorf("option %d is accepted", i)
		}
	}
}

// TestARunnerTakesEachCheck adds the checks of everyKey as the agent does.
func TestARunnerTakesEachCheck(t *testing.T) {
	r := checks.NewRunner()
	s := accept(t, everyKey).Services[0]
	for _, c := range s.Checks {
		if err := r.Add(s.Name, c.New(), c.Options...); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		defer r.Remove(s.Name, c.Name)
	}
	for _, result := range r.Results() {
		if front := result.Check == "front"; front && result.Critical || result.Check == "tcp" && !result.Critical {
			t.Errorf("%+v", result)
		}
	}
}

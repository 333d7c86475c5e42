package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// everyKey is a file with each key that a file can have.
const everyKey = `
cluster: {endpoints: [10.0.0.1:7600, "[::1]:7600", registry.example.com:7600], ca: [ca.pem, old-ca.pem], cert: agent.crt, key: agent.key, token_file: agent.token}
instance: 10.0.0.7:8080
ttl: 45s
forget_after: 7d
listen: {grpc: 127.0.0.1:7610, http: "[::1]:7612", allow_remote_push: true}
kubernetes: {service_account: /var/run/token, pod_info: /etc/podinfo}
defaults: {interval: 10s, timeout: 5s, rise: 2, fall: 4}
services:
- name: shop/checkout
  instance: 10.0.0.7:8081
  on_stop: withdraw
  push: true
  readiness_gate: example.com/ready
  checks:
  - http:
      url: http://127.0.0.1:8080/healthz
      method: POST
      expect: [200, 204]
      body: all well
      headers: {Host: shop.example.com, X-Probe: "1"}
      follow_redirects: true
    name: front
    interval: 5s
    timeout: 2s
    rise: 1
    fall: 3
    critical: false
  - tcp: {address: 127.0.0.1:5432}
  - grpc: {target: 127.0.0.1:9090, service: shop}
  - dns: {host: db.example.com., addresses: [10.0.0.9, "fd00::9"]}
  - command: {run: [check_disk, -w, 10%, ""], dir: /tmp, env: {LC_ALL: C, EMPTY: ""}}
  - file: {path: /var/backups/shop.dump, max_age: 1d1h}
  - cert: {file: /etc/ssl/shop.pem, warn_before: 21d, fail_before: 2d}
  - cert: {address: 127.0.0.1:443}
    name: front certificate
  - disk: {path: /, warn_free_percent: 12.5, fail_free_percent: 6, warn_free_bytes: 2GiB, fail_free_bytes: 1073741824}
  - memory: {warn_free_percent: 10, fail_free_percent: 5, warn_free_bytes: 10 MiB, fail_free_bytes: 1MiB}
  - load: {warn: 1.5, fail: 3}
  - ttl: {after: 30s}
`

func TestEveryKey(t *testing.T) {
	cfg := accept(t, everyKey)
	services := cfg.Services
	cfg.Services = nil
	want := &Config{
		Endpoints: []string{"10.0.0.1:7600", "[::1]:7600", "registry.example.com:7600"},
		TLS:       TLS{CA: []string{"ca.pem", "old-ca.pem"}, Cert: "agent.crt", Key: "agent.key"}, TokenFile: "agent.token", Instance: "10.0.0.7:8080",
		TTL: 45 * time.Second, ForgetAfter: 7 * 24 * time.Hour, GRPC: "127.0.0.1:7610", HTTP: "[::1]:7612", AllowRemotePush: true,
		Kubernetes: Kubernetes{ServiceAccount: "/var/run/token", PodInfo: "/etc/podinfo"},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	s := services[0]
	if len(services) != 1 || s.Reported() != "shop/checkout/10.0.0.7:8081" || s.OnStop != client.StopWithdraw || !s.Push || s.ReadinessGate != "example.com/ready" || !s.Pushable() {
		t.Errorf("services: %+v", services)
	}
	var got []string
	specs := map[string]bool{}
	for _, c := range s.Checks {
		got = append(got, c.Name+" "+c.Kind)
		if made := c.New(); made.Name() != c.Name || validate(made) != nil {
			t.Errorf("%s makes %s: %v", c.Name, made.Name(), validate(made))
		}
		if (c.TTL == 30*time.Second) != (c.Kind == "ttl") || specs[c.Spec] {
			t.Errorf("%+v", c)
		}
		specs[c.Spec] = true
	}
	if list := strings.Join(got, ", "); list != "front http, tcp tcp, grpc grpc, dns dns, command command, file file, cert cert, front certificate cert, disk disk, memory memory, load load, ttl ttl" {
		t.Error(list)
	}
}

// TestEveryKeyIsInTheFile keeps everyKey whole: the digest of a check panics for a type of setting that it does not
// know, and the tests of reload look at each key.
func TestEveryKeyIsInTheFile(t *testing.T) {
	var look func(typ reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || reflect.PointerTo(typ).Implements(reflect.TypeFor[leaf]()) {
			return
		}
		for _, key := range keysOf(typ) {
			index, _ := fieldOf(typ, key)
			field := typ.FieldByIndex(index)
			if !strings.Contains(everyKey, key+":") {
				t.Errorf("everyKey has no %s", key)
			}
			look(field.Type)
		}
	}
	look(reflect.TypeFor[fileLayout]())
}

func TestDefaults(t *testing.T) {
	cfg := accept(t, whole)
	if cfg.TTL != 30*time.Second || cfg.ForgetAfter != 24*time.Hour || cfg.GRPC != "" || cfg.AllowRemotePush {
		t.Errorf("%+v", cfg)
	}
	s := cfg.Services[0]
	if s.OnStop != client.StopNotServing || s.Push || !s.Pushable() || s.Instance != "10.0.0.7:8080" || s.ReadinessGate != "" || len(s.Checks) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPushable(t *testing.T) {
	for checks, want := range map[string]bool{
		"":                                  true,
		"checks: []":                        true,
		"checks: [{load: {}}]":              false,
		"checks: [{load: {}}], push: true":  true,
		"checks: [{load: {}}], push: false": false,
		"checks: [{ttl: {after: 5s}}]":      true,
	} {
		s := accept(t, strings.Replace(whole, "{name: checkout}", "{name: checkout, "+checks+"}", 1)).Services[0]
		if s.Pushable() != want {
			t.Errorf("%s: %t", checks, s.Pushable())
		}
	}
}

// TestNamesAsTheyStand has values that YAML could take for something else than text.
func TestNamesAsTheyStand(t *testing.T) {
	for _, name := range []string{"8080", "yes", "true", "0x10", "1e3", "2026-11-28", ".5", "-", "on", "1_000", `"null"`, `'~'`, "10%", "a#b", "a:b"} {
		want := strings.Trim(name, `"'`)
		text := strings.Replace(whole, "{name: checkout}", "\n- name: "+name, 1)
		text = strings.Replace(text, "services: [\n", "services:\n", 1)
		text = strings.Replace(text, name+"]", name, 1)
		cfg, err := Parse("agent.yaml", []byte(text), Options{})
		if name == "-" { // begins a list
			continue
		}
		if want == "~" || want == "10%" || want == "a#b" { // whatever the registry says of such a name, it is the name
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if cfg.Services[0].Name != want {
			t.Errorf("%s is %q", name, cfg.Services[0].Name)
		}
	}
}

func TestServicesAreSorted(t *testing.T) {
	var names []string
	for _, s := range accept(t, strings.Replace(whole, "{name: checkout}", "{name: c}, {name: a}, {name: b/x}, {name: b}", 1)).Services {
		names = append(names, s.Name)
	}
	if fmt.Sprint(names) != "[a b b/x c]" {
		t.Error(names)
	}
}

func TestOptions(t *testing.T) {
	noInstance := strings.Replace(whole, "instance: 10.0.0.7:8080\n", "", 1)
	for name, c := range map[string]struct {
		text    string
		options Options
		want    string // the instance, or the error
	}{
		"a flag for a file without":   {noInstance, Options{Instance: "10.1.1.1:1"}, "10.1.1.1:1"},
		"a flag for a file with":      {whole, Options{Instance: "10.1.1.1:1"}, "10.1.1.1:1"},
		"neither":                     {noInstance, Options{}, `agent.yaml:3:19: service "checkout" has no instance; give it one, or all of them by instance at the top: the address at which others reach it, as 10.0.0.7:8080`},
		"a flag with a wrong address": {whole, Options{Instance: ":8080"}, `agent.yaml: --instance: the instance ":8080" has no host; give the address at which others reach this process, as 10.0.0.7:8080`},
		"beyond loopback":             {strings.Replace(whole, "http: 127.0.0.1", "http: 0.0.0.0", 1), Options{}, `agent.yaml:3:16: listen.http is "0.0.0.0:7612", which is beyond loopback, and its traffic is plain text; --insecure allows it`},
		"beyond loopback, allowed":    {strings.Replace(whole, "http: 127.0.0.1", "http: 0.0.0.0", 1), Options{Insecure: true}, "10.0.0.7:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := Parse("agent.yaml", []byte(c.text), c.options)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = cfg.Services[0].Instance
				if cfg.Instance != got {
					t.Errorf("the default is %s", cfg.Instance)
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, Options{}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(whole+"tll: 5s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, Options{}); err == nil || err.Error() != path+`:5:1: unknown key "tll"; did you mean ttl?` {
		t.Error(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, MaxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "there is no such file",
		dir:                        "it cannot be read: is a directory",
		large:                      "it is too large; a file has at most 16 MiB",
		path + "/x":                "it cannot be read: not a directory",
	} {
		if _, err := Load(path, Options{}); err == nil || err.Error() != path+": "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	text.WriteString("cluster: {endpoints: [127.0.0.1:7600]}\ninstance: 10.0.0.7:8080\nservices:\n")
	for i := range MaxServices {
		fmt.Fprintf(&text, "- name: shop/%d\n  on_stop: withdraw\n  checks:\n  - http: {url: http://127.0.0.1:8080/healthz, expect: 200}\n    interval: 5s\n  - command: {run: [check_disk, -w, 10%%]}\n    critical: false\n", i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("agent.yaml", []byte(text.String()), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

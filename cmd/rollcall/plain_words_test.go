package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// notForPeople are words of Go's packages, of gRPC and of defects, which nobody but programmers can read.
var notForPeople = []string{
	"strconv", "parsing", "time:", "context deadline", "context canceled", "rpc error", "code =", "desc =", "dial tcp", "listen tcp", "read tcp", "write tcp",
	"<nil>", "%!", "runtime error", "invalid memory", "EOF", "http2", "x509", " tls:", "too many colons", "missing port in address", " json:", "proto:",
	"goroutine", "panic", "pflag", "syscall", "transport:", "server preface", "name resolver", "invalid argument", "invalid syntax", "invalid character",
	"unexpected end of", "encoding/", "openat", "lstat", "fdopendir", "interface {}", "(*", "&{", "map[", "Did you mean this", "0xc0", ".go:",
}

func checkWords(t *testing.T, args []string, r result) {
	t.Helper()
	all := r.stdout + r.stderr
	for _, word := range notForPeople {
		if strings.Contains(all, word) {
			t.Errorf("rollcall %q says %q:\n%s", args, word, all)
		}
	}
	if r.code != exitDone && strings.Count(r.stderr, "\nrollcall: ")+strings.Count("\n"+r.stderr, "\nrollcall: ") == 0 {
		t.Errorf("rollcall %q fails with %d and does not say why: %q", args, r.code, r.stderr)
	}
}

// asking are command lines that ask a node, each with what ends it soon.
var asking = []string{
	"get a", "list", "set a up", "set a=up b=down", "delete a", "watch a", "watch --prefix a", "wait a --timeout 30ms", "probe a", "events", "events --follow", "events --follow --since 1h",
	"history a", "status", "status --wait 30ms", "top --once", "verify", "snapshot save " + unsaved,
	"override set a down --reason x --for 1h", "override clear a --reason x", "override list", "rule add r a --min 1", "rule check r", "rule list", "rule remove r --reason x", "shutdown --reason x", "resume --reason x", "why a",
	"set a up --ttl 10s", "set a=up b=up --ttl 10s --keep-alive", "lease grant", "lease keep-alive x y", "lease revoke x", "lease list", "lease release-guard",
	"whoami", "auth enable", "auth disable", "auth status", "auth can read a", "token create a --role viewer --on * --out -", "token revoke a", "token list",
	"role set a read", "role remove a", "role list", "grant add cert:a --role viewer --on *", "grant remove cert:a", "grant deny cert:a", "grant allow cert:a", "grant list",
	"member list", "member add n4 --peer h:1", "member remove n3", "member replace n3", "member promote n3", "transfer-leader", "bench check", "bench write --duration 100ms", "bench watch --watches 1", "bench clean",
}

// nowhere is a file that is never made.
var nowhere = filepath.Join(os.TempDir(), "rollcall-test-no-such-directory", "backup")

// unsaved is a file that is never made either: nobody answers who could save it.
var unsaved = filepath.Join(os.TempDir(), "rollcall-test-unsaved-backup")

// offline are command lines that ask no node, none of which can do anything.
var offline = []string{"serve", "agent --config " + nowhere, "dev --nodes 0", "compact --data " + nowhere, "recover --data " + nowhere, "snapshot inspect " + nowhere, "snapshot restore " + nowhere, "cert ca --dir " + nowhere, "cert node n1 --dir " + nowhere, "cert client ops --dir " + nowhere, "token generate --out " + nowhere, "version", "completion bash", "completion zsh", "completion fish", "completion powershell", "help"}

func TestEveryCommandIsTriedWithBadInput(t *testing.T) {
	tried := map[string]bool{}
	root := testRoot()
	for _, line := range append(append([]string{}, asking...), offline...) {
		cmd, _, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		tried[cmd.CommandPath()] = true
	}
	walk(root, func(cmd *cobra.Command) {
		if cmd.Runnable() && !cmd.HasSubCommands() && !tried[cmd.CommandPath()] {
			t.Errorf("%q is not tried: add it to asking or offline", cmd.CommandPath())
		}
	})
}

// No wrong value of any flag of any command, given as a flag or as its variable, is answered in Go's words. A flag that
// commands share is the same code in all: after the first of them, each is given two of the values.
func TestWrongValuesOfFlagsInPlainWords(t *testing.T) {
	values := []string{"", "abc", "5", "5x", "-1", "1e9", "0x", "99999999999999999999", "-99999999999999999999", `"`, `a"b`, "[", "\x00", "\n", "ä", "=", ",", "10000000h", "1.5d", "a:b:c", "2026-13-01", "%s%d"}
	dead := closedPort()
	tried := map[string]int{}
	for i, line := range append(append([]string{}, asking...), offline...) {
		cmd, _, err := testRoot().Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flagsOf(cmd) {
			if f.Value.Type() == "bool" && f.Name == "help" {
				continue
			}
			values := values
			which := fmt.Sprint(f.Name, f.Usage, f.Annotations)
			if tried[which]++; tried[which] > 3 {
				values = []string{values[i%len(values)], values[(i+len(values)/2)%len(values)]}
			}
			for _, value := range values {
				args := append(strings.Fields(line), "--"+f.Name+"="+value)
				variable := cliflag.EnvironmentName(f.Name)
				if f.Name != "endpoints" && f.Annotations[doesNotApply] == nil && cmd.Flag("endpoints").Annotations[doesNotApply] == nil {
					args = append(args, "-e", dead)
				}
				if stays(cmd, f.Name) {
					continue
				}
				checkWords(t, args, rollcall(t, args...))
				if !cliflag.FromEnvironment(f) || strings.Contains(value, "\x00") || strings.Contains(line, "--"+f.Name) {
					continue
				}
				if f.Name == "endpoints" && strings.TrimSpace(value) == "" {
					continue // counts as absent: the default nodes would be asked, and somebody may run them
				}
				t.Run("", func(t *testing.T) {
					t.Setenv(variable, value)
					fields := strings.Fields(line)
					if f.Name != "endpoints" && cmd.Flag("endpoints").Annotations[doesNotApply] == nil {
						fields = append(fields, "-e", dead)
					}
					checkWords(t, append(fields, variable+"="+value), rollcall(t, fields...))
				})
			}
		}
	}
}

// stays reports flags of which some value makes a command wait for a node that never comes, or run a cluster.
func stays(cmd *cobra.Command, flag string) bool {
	return cmd.Name() == "wait" && flag == "timeout" || cmd.Name() == "status" && flag == "wait" || cmd.Name() == "dev" && flag == "nodes"
}

func TestWrongArgumentsInPlainWords(t *testing.T) {
	dead := closedPort()
	for _, line := range []string{
		"frob", "sett a up", "snapshot", "snapshot foo", "snapshot foo --force", "snapshot save", "snapshot inspect", "snapshot restore", "snapshot save a b", "snapshot save a --committed-only", "recover", "recover a", "recover --inspect", "recover --inspect a --data b", "recover --data a b", "bench", "bench foo", "bench -x",
		"help sett", "help snapshot foo", "help set foo", "completion", "completion tcsh", "completion bash zsh", "list -q", "list -timeout 3s", "list a b", "--zzz", "-e x frob", "-e",
		"list --", "list -- -q", "set", "set a", "set a b c", "set =", "set a=", "set =up", "set a=up a=down", "set a=up,b=up", "set \x00 up", "set a \x00", "get", "get \xff", "get a b",
		"delete", "delete a b", "delete rollcall.live", "history", "history rollcall.live", "watch", "watch a b", "watch a --prefix b", "wait", "wait a b", "probe a b", "events \xff",
		"status now", "verify now", "version now", "serve now", "dev now", "agent now", "agent", "agent --check-config", "compact now", "compact", "serve", "bench check a b", "bench write a", "cert", "cert foo", "cert ca x", "cert node", "cert node a b", "cert node N1", "cert node ../x", "cert client", "cert client a b", "cert client \x00", "ls a b", "rm", "put",
		"whoami a", "auth", "auth foo", "auth enable x", "auth status x", "auth can", "auth can read", "auth can write a", "auth can read a b", "auth can read shop*", "auth can backup a", "auth can read a --identity a", "auth can read a --identity cert:",
		"token", "token foo", "token create", "token create a", "token create a --role viewer", "token create a --role viewer --on *", "token create a --role \x00 --on * --out -", "token create a --role viewer --on x* --out -", "token create \xff --role viewer --on * --out -",
		"token create a --role viewer --on * --out " + nowhere, "token create a --role viewer --on * --out -" + " --ttl 0", "token create a --role viewer --on * --out -" + " --ttl 4000d", "token create a b", "token revoke", "token revoke a --id b", "token revoke --id zz", "token list a", "token generate", "token generate a", "token generate --out - --out -",
		"role", "role set", "role set a", "role set a write", "role set viewer read", "role set a read read", "role remove", "role remove admin", "role list a",
		"grant", "grant add", "grant add a --role viewer --on *", "grant add cert:a", "grant add cert:a --role viewer", "grant add anonymous --role viewer --on *", "grant add cert:a --role viewer --on x*", "grant remove", "grant remove a", "grant deny", "grant allow x y", "grant list x y", "grant list x",
		"get a --at soon", "get a --at 99999999999999999999", "get a --at -5", "events --since 42", "events --from 3 --to 2", "get " + strings.Repeat("x", 300), "set " + strings.Repeat("x", 300) + " up",
		"set a up --reason " + strings.Repeat("x", 5000), "set a up --actor " + strings.Repeat("x", 5000), "set a up --request-id " + strings.Repeat("x", 5000),
	} {
		args := strings.Split(line, " ")
		if cmd, _, err := testRoot().Find(args); err == nil && cmd.HasParent() && cmd.Flag("endpoints").Annotations[doesNotApply] == nil && !strings.Contains(line, " -- ") && args[0] != "bench" {
			args = append(args, "-e", dead)
		}
		if strings.Contains(line, " -- ") {
			args = append([]string{"-e", dead}, args...)
		}
		r := rollcall(t, args...)
		checkWords(t, args, r)
		switch line {
		case "snapshot", "bench", "completion", "cert", "auth", "token", "role", "grant":
			continue // the help
		}
		if r.code == exitDone {
			t.Errorf("rollcall %s is no error", line)
		}
	}
}

// portOf serves each connection to a port of its own with f.
func portOf(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 1000)
	begun := 0
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			begun++
			stop := context.AfterFunc(ctx, func() { c.Close() })
			go func() {
				f(c)
				c.Close()
				stop()
				done <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		cancel()
		<-accepting
		for range begun {
			<-done
		}
	})
	return l.Addr().String()
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Whatever listens where a node is looked for, people learn what is wrong.
func TestWrongEndpointsInPlainWords(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	other := grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- other.Serve(l) }()
	t.Cleanup(func() {
		other.Stop()
		<-served
	})
	for name, endpoint := range map[string]struct{ address, want string }{
		"refused": {closedPort(), "connection refused"},
		"HTTP": {portOf(t, func(c net.Conn) {
			io.CopyN(io.Discard, c, 24)
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		}), "does it need TLS, or is this an HTTP port?"},
		"TLS":          {portOf(t, func(c net.Conn) { tls.Server(c, config).Handshake() }), "does it need TLS"},
		"closes":       {portOf(t, func(c net.Conn) {}), ""},
		"a banner":     {portOf(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n"); io.Copy(io.Discard, c) }), "it does not speak gRPC"},
		"zeros":        {portOf(t, func(c net.Conn) { c.Write(make([]byte, 4096)); io.Copy(io.Discard, c) }), ""},
		"other gRPC":   {l.Addr().String(), ""},
		"no such host": {"no-such-host.invalid:7600", ""},
		"no port":      {"127.0.0.1", "is not host:port"},
		"empty port":   {"127.0.0.1:", "is not host:port"},
		"a word":       {"127.0.0.1:api", "has a port that is not a number from 1 to 65535"},
		"large port":   {"127.0.0.1:76000", "has a port that is not a number from 1 to 65535"},
		"port 0":       {"127.0.0.1:0", "has a port that is not a number from 1 to 65535"},
		"IPv6":         {"::1:7600", "stands in brackets, as [::1]:7600"},
		"URL":          {"http://127.0.0.1:7600", "leave out http://"},
		"https":        {"https://127.0.0.1:7600/health", "leave out https://"},
		"a scheme":     {"consul://rollcall", "leave out consul://"},
		"no name":      {"dns:///", "it is not host:port"},
		"a socket":     {"unix:/no/such/socket", "the socket does not exist"},
		"spaces":       {"my host:7600", "is not host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, line := range asking {
				args := append(strings.Fields(line), "-e", endpoint.address)
				r := rollcall(t, args...)
				checkWords(t, args, r)
				if r.code == exitDone && name != "other gRPC" {
					t.Errorf("rollcall %s ends with 0", line)
				}
				if endpoint.want != "" && !strings.HasPrefix(line, "wait ") && !strings.Contains(r.stderr, endpoint.want) {
					t.Errorf("rollcall %s says %s, want: %s", line, r.stderr, endpoint.want)
				}
			}
		})
	}
}

// A port that accepts and says nothing is given up in time.
func TestASilentPortInPlainWords(t *testing.T) {
	silent := portOf(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, line := range []string{"get a --timeout 100ms", "set a up --timeout 100ms", "list --timeout 100ms", "delete a --timeout 100ms", "status --timeout 100ms", "verify --timeout 100ms",
		"events --timeout 100ms", "history a --timeout 100ms", "wait a --timeout 100ms", "status --wait 100ms", "probe a --timeout 100ms", "probe a --connect-timeout 100ms", "snapshot save x --timeout 100ms",
		"get a --timeout 1ns", "set a up --timeout 1ns"} {
		args := append(strings.Fields(line), "-e", silent)
		r := rollcall(t, args...)
		checkWords(t, args, r)
		if r.code == exitDone || r.code == exitUnknown {
			t.Errorf("rollcall %s ends with %d: %s", line, r.code, r.stderr)
		}
	}
}

// Files that are missing, empty, cut short or something else.
func TestWrongFilesInPlainWords(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty, text := write("empty", ""), write("text", strings.Repeat("not a backup ", 1000))
	const identity = `{"format":1,"node":"n1","directory_id":"00000000-0000-4000-8000-000000000000"}`
	directories := []string{nowhere, empty, text, dir}
	for name, content := range map[string]string{"json-cut": "{", "json-empty": "", "json-wrong": "[]", "json-type": `{"format":"x"}`, "json-x": "{x}", "json-other": `{"format":99}`, "good": identity} {
		write(name+"/identity.json", content)
		directories = append(directories, filepath.Join(dir, name))
	}
	for _, file := range []string{"raft.db", "registry.db"} {
		for name, content := range map[string]string{"empty": "", "short": "x", "zeros": strings.Repeat("\x00", 1<<16), "text": strings.Repeat("text", 1<<14)} {
			write(file+name+"/identity.json", identity)
			write(file+name+"/"+file, content)
			directories = append(directories, filepath.Join(dir, file+name))
		}
	}
	write("dev-cut/rollcall-dev.json", "{")
	member := []string{"--node", "n1", "--member", "n1,api=127.0.0.1:1,peer=127.0.0.1:2"}
	for _, d := range directories {
		for _, args := range [][]string{{"verify", "--data", d}, {"compact", "--data", d}, append([]string{"snapshot", "restore", text, "--data", d}, member...)} {
			checkWords(t, args, rollcall(t, args...))
		}
	}
	for _, args := range [][]string{
		{"snapshot", "inspect", nowhere}, {"snapshot", "inspect", empty}, {"snapshot", "inspect", text}, {"snapshot", "inspect", dir},
		append([]string{"snapshot", "restore", nowhere, "--data", filepath.Join(dir, "new")}, member...),
		append([]string{"snapshot", "restore", dir, "--data", filepath.Join(dir, "new")}, member...),
		append([]string{"snapshot", "restore", text, "--data", filepath.Join(dir, "new"), "--token", "zz"}, member...),
		{"snapshot", "save", nowhere}, {"snapshot", "save", text}, {"snapshot", "save", dir, "--force"},
		{"dev", "--data", text}, {"dev", "--data", filepath.Join(dir, "dev-cut")}, {"dev", "--data", filepath.Join(text, "below")},
		append([]string{"serve", "--data", text}, member...), append([]string{"serve", "--data", filepath.Join(dir, "json-cut")}, member...),
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,api=a:b:c,peer=127.0.0.1:1"}, {"serve", "--data", "d", "--node", "n1", "--member", "n1,api=127.0.0.1,peer=127.0.0.1:1"},
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--http", "nonsense"}, {"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--http", "127.0.0.1:99999"},
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--drain-delay", "2d"},
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--admin-identity", "cert:ops"},
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--tls", "required", "--cert", "c", "--key", "k", "--ca", "a", "--admin-identity", "ops"},
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--tls", "required", "--cert", "c", "--key", "k", "--ca", "a", "--admin-identity", "token:ops"},
		{"serve", "--data", filepath.Join(dir, "json-cut"), "--node", "n1", "--member", "n1,host=localhost", "--admin-token-file", filepath.Join(dir, "none")},
		{"serve", "--data", filepath.Join(dir, "json-cut"), "--node", "n1", "--member", "n1,host=localhost", "--admin-token-file", dir},
		{"serve", "--data", "d", "--node", "n1", "--member", "n1,host=localhost", "--admin-token-file", ""},
	} {
		r := rollcall(t, append(args, []string{}...)...)
		checkWords(t, args, r)
		if r.code == exitDone {
			t.Errorf("rollcall %s ends with 0", args)
		}
	}
}

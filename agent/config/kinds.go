package config

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/checks/host"
)

// This file makes the checks of the settings of each kind.

// missing adds the fault that a check lacks a setting.
func missing(b *builder, at place, kind, key, example string) func() checks.Check {
	b.missing(at, "a check of kind %s needs %s, as %s", kind, key, example)
	return nil
}

// fits adds what a check says is wrong with the setting at a place, and reports whether nothing is.
func fits(b *builder, at place, key string, c checks.Check) bool {
	if err := validate(c); err != nil {
		b.at(at, "%s: %s", key, plainText(err))
		return false
	}
	return true
}

func (k *httpKeys) check(b *builder, name string) func() checks.Check {
	if !k.URL.ok() {
		return missing(b, k.place, "http", "url", "url: http://127.0.0.1:8080/healthz")
	}
	if !fits(b, k.URL.place, "url", checks.HTTP(name, k.URL.value)) {
		return nil
	}
	var o []checks.HTTPOption
	add := func(at place, key string, option checks.HTTPOption) {
		if fits(b, at, key, checks.HTTP(name, k.URL.value, option)) {
			o = append(o, option)
		}
	}
	if k.Method.ok() {
		if k.Method.value != strings.ToUpper(k.Method.value) {
			b.at(k.Method.place, "method is %q; methods of HTTP are case-sensitive, use %s", k.Method.value, strings.ToUpper(k.Method.value))
		}
		add(k.Method.place, "method", checks.HTTPMethod(k.Method.value))
	}
	if k.Expect.ok() {
		add(k.Expect.place, "expect", checks.HTTPStatus(k.Expect.values...))
	}
	if k.Body.ok() {
		if k.Method.value == http.MethodHead {
			b.at(k.Body.place, "body needs another method than HEAD: an answer to HEAD has no body")
		}
		add(k.Body.place, "body", checks.HTTPBody(k.Body.value))
	}
	for _, h := range k.Headers {
		add(h.place, "headers", checks.HTTPHeader(h.name, h.value.value))
	}
	if k.FollowRedirects.value {
		o = append(o, checks.HTTPFollowRedirects())
	}
	return func() checks.Check { return checks.HTTP(name, k.URL.value, o...) }
}

func (k *tcpKeys) check(b *builder, name string) func() checks.Check {
	if !k.Address.ok() {
		return missing(b, k.place, "tcp", "address", "address: 127.0.0.1:5432")
	}
	check := func() checks.Check { return checks.TCP(name, k.Address.value) }
	fits(b, k.Address.place, "address", check())
	return check
}

func (k *grpcKeys) check(b *builder, name string) func() checks.Check {
	if !k.Target.ok() {
		return missing(b, k.place, "grpc", "target", "target: 127.0.0.1:9090")
	}
	check := func() checks.Check { return checks.GRPC(name, k.Target.value, checks.GRPCService(k.Service.value)) }
	fits(b, k.Target.place, "target", check())
	return check
}

func (k *dnsKeys) check(b *builder, name string) func() checks.Check {
	if !k.Host.ok() {
		return missing(b, k.place, "dns", "host", "host: db.example.com.")
	}
	var addresses []string
	for _, a := range k.Addresses {
		if _, err := netip.ParseAddr(a.value); err != nil && a.ok() {
			b.at(a.place, "addresses: %q is no IP address", a.value)
		}
		addresses = append(addresses, a.value)
	}
	var o []checks.DNSOption
	if addresses != nil {
		o = append(o, checks.DNSAddress(addresses...))
	}
	fits(b, k.Host.place, "host", checks.DNS(name, k.Host.value))
	return func() checks.Check { return checks.DNS(name, k.Host.value, o...) }
}

func (k *commandKeys) check(b *builder, name string) func() checks.Check {
	if len(k.Run) == 0 {
		return missing(b, k.place, "command", "run", "run: [/usr/lib/nagios/plugins/check_disk, -w, 10%]")
	}
	var args []string
	for _, a := range k.Run {
		args = append(args, a.value)
	}
	if args[0] == "" && k.Run[0].ok() {
		b.at(k.Run[0].place, "run begins with an empty text; it must begin with a program")
	}
	var o []checks.CommandOption
	if k.Dir.ok() {
		o = append(o, checks.CommandDir(k.Dir.value))
	}
	for _, e := range k.Env {
		if strings.ContainsAny(e.name, "=\x00") {
			b.at(e.place, "env: %q cannot be the name of a variable", e.name)
		}
		o = append(o, checks.CommandEnv(e.name+"="+e.value.value))
	}
	return func() checks.Check { return checks.Command(name, args, o...) }
}

func (k *fileKeys) check(b *builder, name string) func() checks.Check {
	if !k.Path.ok() {
		return missing(b, k.place, "file", "path", "path: /var/backups/shop.dump")
	}
	if !k.MaxAge.ok() {
		return missing(b, k.place, "file", "max_age", "max_age: 25h")
	}
	return func() checks.Check { return checks.FileAge(name, k.Path.value, k.MaxAge.value) }
}

// Defaults of a certificate's warning, of free space and of load, which are those of packages checks and host.
const (
	certWarning          = 14 * 24 * time.Hour
	freeWarn, freeFail   = 10, 5 // percent
	loadWarn, loadFailed = 2, 4  // of a processor
)

func (k *certKeys) check(b *builder, name string) func() checks.Check {
	switch {
	case !k.File.ok() && !k.Address.ok():
		return missing(b, k.place, "cert", "file or address", "file: /etc/ssl/shop.pem")
	case k.File.ok() && k.Address.ok():
		b.at(k.place, "a check of kind cert has file and address; make an entry of each")
		return nil
	}
	warn := k.WarnBefore.or(max(certWarning, k.FailBefore.value))
	if warn < k.FailBefore.value {
		b.at(k.WarnBefore.place, "warn_before is %s, later than fail_before, which is %s; the warning comes first", short(warn), short(k.FailBefore.value))
		return nil
	}
	o := checks.CertBefore(warn, k.FailBefore.value)
	if k.File.ok() {
		return func() checks.Check { return checks.CertFile(name, k.File.value, o) }
	}
	check := func() checks.Check { return checks.CertEndpoint(name, k.Address.value, o) }
	fits(b, k.Address.place, "address", check())
	return check
}

// options returns those of the bounds that the file has. The others keep their defaults.
func (k *freeKeys) options(b *builder) (o []host.Option) {
	if k.WarnPercent.ok() || k.FailPercent.ok() {
		w, fail := k.WarnPercent.value, k.FailPercent.value
		if !k.WarnPercent.ok() {
			w = max(freeWarn, fail)
		}
		if !k.FailPercent.ok() {
			fail = min(freeFail, w)
		}
		for _, one := range []struct {
			key string
			at  number
		}{{"warn_free_percent", k.WarnPercent}, {"fail_free_percent", k.FailPercent}} {
			if one.at.value > 100 {
				b.at(one.at.place, "%s is %v; it must be from 0 to 100", one.key, one.at.value)
			}
		}
		if w < fail {
			b.at(k.WarnPercent.place, "warn_free_percent is %v, less than fail_free_percent, which is %v; the warning comes first", w, fail)
		}
		o = append(o, host.FreePercent(w, fail))
	}
	if k.WarnBytes.ok() || k.FailBytes.ok() {
		w := k.WarnBytes.value
		if !k.WarnBytes.ok() {
			w = k.FailBytes.value
		}
		if w < k.FailBytes.value {
			b.at(k.WarnBytes.place, "warn_free_bytes is less than fail_free_bytes; the warning comes first")
		}
		o = append(o, host.FreeBytes(w, k.FailBytes.value))
	}
	if k.WarnPercent.ok() && k.WarnPercent.value == 0 && k.FailPercent.value == 0 && k.WarnBytes.value == 0 && k.FailBytes.value == 0 {
		b.at(k.WarnPercent.place, "warn_free_percent is 0, so the check has no bound; give it one, as warn_free_bytes: 1GiB")
	}
	return o
}

func (k *diskKeys) check(b *builder, name string) func() checks.Check {
	if !k.Path.ok() {
		return missing(b, k.place, "disk", "path", "path: /var/lib/shop")
	}
	o := k.options(b)
	return func() checks.Check { return host.Disk(name, k.Path.value, o...) }
}

func (k *memoryKeys) check(b *builder, name string) func() checks.Check {
	o := k.options(b)
	return func() checks.Check { return host.Memory(name, o...) }
}

func (k *loadKeys) check(b *builder, name string) func() checks.Check {
	warn, fail := k.Warn.value, k.Fail.value
	switch {
	case !k.Warn.ok() && !k.Fail.ok():
		warn, fail = loadWarn, loadFailed
	case !k.Warn.ok():
		warn = min(loadWarn, fail)
	case !k.Fail.ok():
		fail = max(loadFailed, warn)
	}
	switch {
	case k.Warn.ok() && warn == 0:
		b.at(k.Warn.place, "warn is 0; it must be more than 0")
	case k.Fail.ok() && fail == 0:
		b.at(k.Fail.place, "fail is 0; it must be more than 0")
	case warn > fail:
		b.at(k.Warn.place, "warn is %v, more than fail, which is %v; the warning comes first", warn, fail)
	}
	return func() checks.Check { return host.Load(name, warn, fail) }
}

func (k *ttlKeys) check(b *builder, name string) func() checks.Check {
	if !k.After.ok() {
		return missing(b, k.place, "ttl", "after", "after: 30s")
	}
	if k.After.value > maxTime {
		b.at(k.After.place, "after is %s; it must be at most %s", short(k.After.value), short(maxTime))
	}
	return func() checks.Check { return checks.NewTTL(name, k.After.value) }
}

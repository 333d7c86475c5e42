package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/checks/host"
)

// Check is one check of a service.
type Check struct {
	Name string
	Kind string
	// Spec says in one line what the check does and when. Two checks with the same Spec are the same.
	Spec    string
	Options []checks.CheckOption
	New     func() checks.Check // makes it; it does nothing before it runs
	TTL     time.Duration       // of a ttl check, which New makes a *checks.TTL; else 0
}

// kind returns what the entry checks: the key, its settings, and the check, which name names.
func (k *checkKeys) kind() (kind string, settings interface {
	check(name string) (func() checks.Check, error)
}, err error) {
	v := reflect.ValueOf(k).Elem()
	var all []string
	for f := range v.Type().Fields() {
		if f.Type.Kind() != reflect.Pointer {
			continue
		}
		key := f.Tag.Get("key")
		all = append(all, key)
		one := v.FieldByIndex(f.Index)
		if one.IsNil() {
			continue
		}
		if kind != "" {
			return "", nil, k.errorf("a check has two kinds, %s and %s; make two entries of it", kind, key)
		}
		kind = key
		settings = one.Interface().(interface {
			check(name string) (func() checks.Check, error)
		})
	}
	if kind == "" {
		return "", nil, k.errorf("a check does not say what it checks; it needs one of %s", oneOf(all))
	}
	return kind, settings, nil
}

func (k *checkKeys) check(defaults *timing) (Check, error) {
	kind, settings, err := k.kind()
	if err != nil {
		return Check{}, err
	}
	c := Check{Name: kind, Kind: kind}
	if k.Name.ok() {
		c.Name = k.Name.value
	}
	if c.New, err = settings.check(c.Name); err != nil {
		return Check{}, err
	}
	t := timing{k.Interval, k.Timeout, k.Rise, k.Fall}
	if k.TTL == nil { // what is pushed is no measurement: one word of the program turns it, unless its entry says more
		t = t.or(defaults)
	} else {
		c.TTL = k.TTL.After.value
	}
	c.Options = t.options()
	if k.Critical.ok() {
		if k.Critical.value {
			c.Options = append(c.Options, checks.Critical())
		} else {
			c.Options = append(c.Options, checks.NonCritical())
		}
	}
	words := append([]string{kind}, describe(reflect.ValueOf(settings).Elem())...)
	words = append(words, describe(reflect.ValueOf(&t).Elem())...)
	if k.Critical.ok() {
		words = append(words, fmt.Sprintf("critical=%t", k.Critical.value))
	}
	c.Spec = strings.Join(words, " ")
	return c, nil
}

func (t timing) or(d *timing) timing {
	if !t.Interval.ok() {
		t.Interval = d.Interval
	}
	if !t.Timeout.ok() {
		t.Timeout = d.Timeout
	}
	if !t.Rise.ok() {
		t.Rise = d.Rise
	}
	if !t.Fall.ok() {
		t.Fall = d.Fall
	}
	return t
}

func (t timing) options() (o []checks.CheckOption) {
	if t.Interval.ok() {
		o = append(o, checks.Interval(t.Interval.value))
	}
	if t.Timeout.ok() {
		o = append(o, checks.Timeout(t.Timeout.value))
	}
	if t.Rise.ok() {
		o = append(o, checks.Rise(t.Rise.value))
	}
	if t.Fall.ok() {
		o = append(o, checks.Fall(t.Fall.value))
	}
	return o
}

// describe writes the settings that the file has as key=value.
func describe(v reflect.Value) (words []string) {
	for f := range v.Type().Fields() {
		key, value := f.Tag.Get("key"), v.FieldByIndex(f.Index)
		if key == "" {
			if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[placed]() {
				words = append(words, describe(value)...)
			}
			continue
		}
		if shown := shown(value.Addr().Interface()); shown != "" {
			words = append(words, key+"="+shown)
		}
	}
	return words
}

func shown(v any) string {
	var parts []string
	switch v := v.(type) {
	case *text:
		if v.ok() {
			return quoted(v.value)
		}
	case *span:
		if v.ok() {
			return v.value.String()
		}
	case *count:
		if v.ok() {
			return fmt.Sprint(v.value)
		}
	case *number:
		if v.ok() {
			return fmt.Sprint(v.value)
		}
	case *size:
		if v.ok() {
			return fmt.Sprint(v.value)
		}
	case *boolean:
		if v.ok() {
			return fmt.Sprint(v.value)
		}
	case *codes:
		if v.ok() {
			return strings.Trim(fmt.Sprint(v.values), "[]")
		}
	case *[]text:
		for _, t := range *v {
			parts = append(parts, quoted(t.value))
		}
	case *[]argument:
		for _, t := range *v {
			parts = append(parts, quoted(t.value))
		}
	case *pairs:
		for _, p := range *v {
			parts = append(parts, quoted(p.name)+":"+quoted(p.value.value))
		}
	}
	if parts == nil {
		return ""
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// quoted puts a text into quotes if it could be taken for something else.
func quoted(s string) string {
	if q := fmt.Sprintf("%q", s); s == "" || strings.ContainsAny(s, " []=:\"") || q != `"`+s+`"` {
		return q
	}
	return s
}

func missing(at place, kind, key, example string) error {
	return at.errorf("a check of kind %s needs %s, as %s", kind, key, example)
}

func (k *httpKeys) check(name string) (func() checks.Check, error) {
	if !k.URL.ok() {
		return nil, missing(k.place, "http", "url", "url: http://127.0.0.1:8080/healthz")
	}
	var o []checks.HTTPOption
	if k.Method.ok() {
		o = append(o, checks.HTTPMethod(k.Method.value))
	}
	if k.Expect.ok() {
		o = append(o, checks.HTTPStatus(k.Expect.values...))
	}
	if k.Body.ok() {
		o = append(o, checks.HTTPBody(k.Body.value))
	}
	for _, h := range k.Headers {
		o = append(o, checks.HTTPHeader(h.name, h.value.value))
	}
	if k.FollowRedirects.value {
		o = append(o, checks.HTTPFollowRedirects())
	}
	return func() checks.Check { return checks.HTTP(name, k.URL.value, o...) }, nil
}

func (k *tcpKeys) check(name string) (func() checks.Check, error) {
	if !k.Address.ok() {
		return nil, missing(k.place, "tcp", "address", "address: 127.0.0.1:5432")
	}
	return func() checks.Check { return checks.TCP(name, k.Address.value) }, nil
}

func (k *grpcKeys) check(name string) (func() checks.Check, error) {
	if !k.Target.ok() {
		return nil, missing(k.place, "grpc", "target", "target: 127.0.0.1:9090")
	}
	return func() checks.Check { return checks.GRPC(name, k.Target.value, checks.GRPCService(k.Service.value)) }, nil
}

func (k *dnsKeys) check(name string) (func() checks.Check, error) {
	if !k.Host.ok() {
		return nil, missing(k.place, "dns", "host", "host: db.example.com.")
	}
	var o []checks.DNSOption
	if len(k.Addresses) > 0 {
		var addresses []string
		for _, a := range k.Addresses {
			addresses = append(addresses, a.value)
		}
		o = append(o, checks.DNSAddress(addresses...))
	}
	return func() checks.Check { return checks.DNS(name, k.Host.value, o...) }, nil
}

func (k *commandKeys) check(name string) (func() checks.Check, error) {
	if len(k.Run) == 0 {
		return nil, missing(k.place, "command", "run", "run: [/usr/lib/nagios/plugins/check_disk, -w, 10%]")
	}
	var args []string
	for _, a := range k.Run {
		args = append(args, a.value)
	}
	var o []checks.CommandOption
	if k.Dir.ok() {
		o = append(o, checks.CommandDir(k.Dir.value))
	}
	for _, e := range k.Env {
		o = append(o, checks.CommandEnv(e.name+"="+e.value.value))
	}
	return func() checks.Check { return checks.Command(name, args, o...) }, nil
}

func (k *fileKeys) check(name string) (func() checks.Check, error) {
	if !k.Path.ok() {
		return nil, missing(k.place, "file", "path", "path: /var/backups/shop.dump")
	}
	if !k.MaxAge.ok() {
		return nil, missing(k.place, "file", "max_age", "max_age: 25h")
	}
	return func() checks.Check { return checks.FileAge(name, k.Path.value, k.MaxAge.value) }, nil
}

func (k *certKeys) check(name string) (func() checks.Check, error) {
	if k.File.ok() == k.Address.ok() {
		return nil, k.errorf("a check of kind cert needs file or address, and not both")
	}
	var o []checks.CertOption
	if k.WarnBefore.ok() || k.FailBefore.ok() {
		o = append(o, checks.CertBefore(k.WarnBefore.or(max(14*24*time.Hour, k.FailBefore.value)), k.FailBefore.value))
	}
	if k.File.ok() {
		return func() checks.Check { return checks.CertFile(name, k.File.value, o...) }, nil
	}
	return func() checks.Check { return checks.CertEndpoint(name, k.Address.value, o...) }, nil
}

// options are those of the bounds that the file has. The others keep their defaults.
func (k *freeKeys) options() (o []host.Option) {
	const warn, fail = 10, 5
	if k.WarnPercent.ok() || k.FailPercent.ok() {
		w, f := k.WarnPercent.value, k.FailPercent.value
		if !k.WarnPercent.ok() {
			w = max(warn, f)
		}
		if !k.FailPercent.ok() {
			f = min(fail, w)
		}
		o = append(o, host.FreePercent(w, f))
	}
	if k.WarnBytes.ok() || k.FailBytes.ok() {
		w := k.WarnBytes.value
		if !k.WarnBytes.ok() {
			w = k.FailBytes.value
		}
		o = append(o, host.FreeBytes(w, k.FailBytes.value))
	}
	return o
}

func (k *diskKeys) check(name string) (func() checks.Check, error) {
	if !k.Path.ok() {
		return nil, missing(k.place, "disk", "path", "path: /var/lib/shop")
	}
	o := k.options()
	return func() checks.Check { return host.Disk(name, k.Path.value, o...) }, nil
}

func (k *memoryKeys) check(name string) (func() checks.Check, error) {
	o := k.options()
	return func() checks.Check { return host.Memory(name, o...) }, nil
}

func (k *loadKeys) check(name string) (func() checks.Check, error) {
	warn, fail := k.Warn.value, k.Fail.value
	if !k.Warn.ok() && !k.Fail.ok() {
		warn, fail = 2, 4
	} else if !k.Warn.ok() {
		warn = fail
	} else if !k.Fail.ok() {
		fail = max(4, warn)
	}
	return func() checks.Check { return host.Load(name, warn, fail) }, nil
}

func (k *ttlKeys) check(name string) (func() checks.Check, error) {
	if !k.After.ok() {
		return nil, missing(k.place, "ttl", "after", "after: 30s")
	}
	return func() checks.Check { return checks.NewTTL(name, k.After.value) }, nil
}

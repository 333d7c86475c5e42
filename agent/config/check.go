package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client/checks"
)

// Check is one check of a service.
type Check struct {
	Name string
	Kind string
	// Spec is a digest of what the check does and when: two checks with the same Spec do the same. It tells nothing
	// else, so it may be shown, whatever secrets the file has.
	Spec    string
	Options []checks.CheckOption
	New     func() checks.Check // makes it; it does nothing before it runs
	TTL     time.Duration       // of a ttl check, which New makes a *checks.TTL; else 0
}

// Equal reports whether a check has the same name, does the same and does it as often.
func (c Check) Equal(o Check) bool { return c.Name == o.Name && c.Kind == o.Kind && c.Spec == o.Spec }

// kind is the settings of one kind of check.
type kind interface {
	// check returns the function that makes the check. What is wrong with the settings it adds to b's faults.
	check(b *builder, name string) func() checks.Check
}

// kind returns what the entry checks: the key and its settings. ok is false if that was a fault.
func (k *checkKeys) kind(b *builder) (key string, settings kind, ok bool) {
	v := reflect.ValueOf(k).Elem()
	var all, given []string
	for f := range v.Type().Fields() {
		if f.Type.Kind() != reflect.Pointer {
			continue
		}
		key := f.Tag.Get("key")
		all = append(all, key)
		if one := v.FieldByIndex(f.Index); !one.IsNil() {
			given = append(given, key)
			settings = one.Interface().(kind)
		}
	}
	switch len(given) {
	case 0:
		b.missing(k.place, "a check does not say what it checks; it needs one of %s", oneOf(all))
		return "", nil, false
	case 1:
		return given[0], settings, true
	}
	b.at(k.place, "a check has %d kinds, %s; make an entry of each", len(given), strings.Join(given, " and "))
	return "", nil, false
}

func (k *checkKeys) nameOrPlace() place {
	if k.Name.ok() {
		return k.Name.place
	}
	return k.place
}

func (b *builder) check(k *checkKeys) (c Check, ok bool) {
	before := len(b.all)
	kind, settings, ok := k.kind(b)
	if !ok {
		return c, false
	}
	c = Check{Name: kind, Kind: kind}
	if k.Name.ok() {
		c.Name = k.Name.value
		if err := limits.Actor(c.Name); err != nil { // one line, as the page shows it
			b.at(k.Name.place, "the check's name %s", err)
		}
	}
	k.timing.check(&b.faults)
	c.New = settings.check(b, c.Name)
	if len(b.all) > before || c.New == nil {
		return c, false
	}
	t := k.timing
	if k.TTL == nil { // what is pushed is no measurement: one word of the program turns it, unless its entry says more
		t = t.or(&b.file.Defaults)
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
	if err := validate(c.New()); err != nil && b.read { // what the settings' own look has not found
		b.at(k.place, "%s", plainText(err))
		return c, false
	}
	words := []string{kind}
	words = describe(words, reflect.ValueOf(settings).Elem())
	words = describe(words, reflect.ValueOf(&t).Elem())
	if k.Critical.ok() {
		words = append(words, strconv.FormatBool(k.Critical.value))
	}
	sum := sha256.Sum256([]byte(strings.Join(words, "\n")))
	c.Spec = hex.EncodeToString(sum[:])
	return c, true
}

// validate asks a check what is wrong with it.
func validate(c checks.Check) error {
	if v, ok := c.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Bounds of interval and timeout, which are those of package checks.
const (
	minInterval = time.Millisecond
	maxTime     = 365 * 24 * time.Hour
)

func (t *timing) check(f *faults) {
	if i := t.Interval; i.ok() && (i.value < minInterval || i.value > maxTime) {
		f.at(i.place, "interval is %s; it must be from %s to %s", short(i.value), short(minInterval), short(maxTime))
	}
	if o := t.Timeout; o.ok() && o.value > maxTime {
		f.at(o.place, "timeout is %s; it must be at most %s", short(o.value), short(maxTime))
	}
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

// describe adds the settings that the file has, without their places. Each word is quoted, so that no two settings
// have the same words.
func describe(words []string, v reflect.Value) []string {
	for f := range v.Type().Fields() {
		key, value := f.Tag.Get("key"), v.FieldByIndex(f.Index)
		switch {
		case key != "":
			if values := valuesOf(value.Addr().Interface()); values != nil {
				words = append(words, key+"="+strings.Join(values, " "))
			}
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			words = describe(words, value)
		}
	}
	return words
}

// valuesOf returns the values of a setting; nil if the file does not have it.
func valuesOf(setting any) (values []string) {
	add := func(v any) { values = append(values, strconv.Quote(fmt.Sprint(v))) }
	switch s := setting.(type) {
	case *text:
		if s.ok() {
			add(s.value)
		}
	case *span:
		if s.ok() {
			add(int64(s.value))
		}
	case *count:
		if s.ok() {
			add(s.value)
		}
	case *number:
		if s.ok() {
			add(s.value)
		}
	case *size:
		if s.ok() {
			add(s.value)
		}
	case *boolean:
		if s.ok() {
			add(s.value)
		}
	case *codes:
		for _, v := range s.values {
			add(v)
		}
	case *[]text:
		for _, v := range *s {
			add(v.value)
		}
	case *[]argument:
		for _, v := range *s {
			add(v.value)
		}
	case *pairs:
		for _, v := range *s {
			add(v.name)
			add(v.value.value)
		}
	default:
		panic(fmt.Sprintf("config: %T cannot be compared", setting)) // a test has a file with every key
	}
	return values
}

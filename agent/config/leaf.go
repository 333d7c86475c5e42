package config

import (
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rollcallhq/rollcall/internal/duration"
)

// given is the place of a value that the file has; the zero given is that of one it does not have.
type given struct{ place }

func (g given) ok() bool { return g.line > 0 }

// placed is embedded by a mapping that keeps its place.
type placed struct {
	place
	empty map[string]place // of keys whose value is an empty list
}

func (p *placed) setPlace(at place) { p.place = at }

func (p *placed) setEmpty(key string, at place) {
	if p.empty == nil {
		p.empty = map[string]place{}
	}
	p.empty[key] = at
}

// listPlace is the place of a list without an entry: of its key, or of the mapping that does not have the key.
func (p *placed) listPlace(key string) place {
	if at, ok := p.empty[key]; ok {
		return at
	}
	return p.place
}

// scalar returns the text of a value as it stands in the file, without quotes: 8080 is "8080", yes is "yes".
func scalar(n *yaml.Node, key string) (string, given, *Error) {
	if e := plain(n); e != nil {
		return "", given{}, e
	}
	switch {
	case isNull(n):
		return "", given{}, placeOf(n).errorf("%s has no value; %s without quotes is none", key, noneWord(n))
	case n.Kind == yaml.MappingNode:
		return "", given{}, placeOf(n).errorf("%s must be one value, and this is a mapping; a value with a colon and a space needs quotes", key)
	case n.Kind == yaml.SequenceNode:
		return "", given{}, placeOf(n).errorf("%s must be one value, and this is a list", key)
	}
	return n.Value, given{placeOf(n)}, nil
}

func noneWord(n *yaml.Node) string {
	if n.Value == "" {
		return "nothing"
	}
	return n.Value
}

// text is a text that is not empty.
type text struct {
	given
	value string
}

func (t *text) take(n *yaml.Node, key string) *Error {
	v, at, e := scalar(n, key)
	switch {
	case e != nil:
		return e
	case strings.TrimSpace(v) == "":
		return at.errorf("%s is empty; give it a value, or leave the key out", key)
	case strings.Contains(v, "\x00"):
		return at.errorf("%s has a zero byte", key)
	}
	t.given, t.value = at, v
	return nil
}

// argument is a text that may be empty.
type argument struct {
	given
	value string
}

func (t *argument) take(n *yaml.Node, key string) *Error {
	v, at, e := scalar(n, key)
	switch {
	case e != nil:
		return e
	case strings.Contains(v, "\x00"):
		return at.errorf("%s has a zero byte", key)
	}
	t.given, t.value = at, v
	return nil
}

// span is a duration above zero.
type span struct {
	given
	value time.Duration
}

func (s *span) take(n *yaml.Node, key string) *Error {
	t, at, e := scalar(n, key)
	if e != nil {
		return e
	}
	v, err := duration.Parse(t)
	switch {
	case err != nil:
		return at.errorf("%s: %v", key, err)
	case v <= 0:
		return at.errorf("%s is %s; it must be more than 0", key, t)
	}
	s.given, s.value = at, v
	return nil
}

func (s span) or(d time.Duration) time.Duration {
	if s.ok() {
		return s.value
	}
	return d
}

type count struct {
	given
	value int
}

func (c *count) take(n *yaml.Node, key string) *Error {
	t, at, e := scalar(n, key)
	if e != nil {
		return e
	}
	v, err := strconv.ParseInt(t, 10, 32)
	if err != nil || v < 1 || !decimal(t) {
		return at.errorf("%s is %q; it must be a whole number from 1 to %d", key, t, math.MaxInt32)
	}
	c.given, c.value = at, int(v)
	return nil
}

// decimal reports whether a number is written with digits only, and without a zero before it, which YAML once took
// for octal.
func decimal(t string) bool {
	return t != "" && strings.Trim(t, "0123456789") == "" && (t == "0" || t[0] != '0')
}

type number struct {
	given
	value float64
}

func (f *number) take(n *yaml.Node, key string) *Error {
	t, at, e := scalar(n, key)
	if e != nil {
		return e
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || strings.Trim(t, "0123456789.") != "" || math.IsInf(v, 0) {
		return at.errorf("%s is %q; it must be a number, 0 or more", key, t)
	}
	f.given, f.value = at, v
	return nil
}

type boolean struct {
	given
	value bool
}

func (b *boolean) take(n *yaml.Node, key string) *Error {
	t, at, e := scalar(n, key)
	if e != nil {
		return e
	}
	if t != "true" && t != "false" {
		return at.errorf("%s is %q; it must be true or false", key, t)
	}
	b.given, b.value = at, t == "true"
	return nil
}

// size is an amount of memory or disk.
type size struct {
	given
	value uint64
}

func (s *size) take(n *yaml.Node, key string) *Error {
	t, at, e := scalar(n, key)
	if e != nil {
		return e
	}
	amount, factor := t, uint64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(t, unit); ok {
			amount, factor = strings.TrimSpace(rest), 1<<(10*(i+1))
		}
	}
	v, err := strconv.ParseUint(amount, 10, 64)
	if err != nil || !decimal(amount) || v > math.MaxInt64/factor {
		return at.errorf("%s is %q; use a whole number of bytes, or one with KiB, MiB, GiB or TiB, as 10GiB", key, t)
	}
	s.given, s.value = at, v*factor
	return nil
}

type pair struct {
	place
	name  string
	value argument
}

// pairs are a mapping whose keys are the author's own.
type pairs []pair

func (p *pairs) take(n *yaml.Node, key string) *Error {
	if n.Kind != yaml.MappingNode {
		return placeOf(n).errorf("%s must be a mapping of names and values, as {NAME: VALUE}", key)
	}
	d := decoder{}
	d.entries(n, func(name string, at place, value *yaml.Node) {
		one := pair{place: at, name: name}
		d.add(one.value.take(value, name))
		*p = append(*p, one)
	})
	if len(d.all) > 0 {
		return d.all[0]
	}
	return nil
}

// codes is one status of HTTP, or a list of them.
type codes struct {
	given
	values []int
}

func (c *codes) take(n *yaml.Node, key string) *Error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	if len(items) == 0 {
		return placeOf(n).errorf("%s is an empty list; name the statuses that are good, or leave the key out for 200 to 299", key)
	}
	for _, item := range items {
		t, at, e := scalar(item, key)
		if e != nil {
			return e
		}
		v, err := strconv.Atoi(t)
		if err != nil || !decimal(t) || v < 200 || v > 599 {
			return at.errorf("%s is %q; it must be a status of HTTP, from 200 to 599, or a list of them", key, t)
		}
		c.values = append(c.values, v)
	}
	c.given = given{placeOf(n)}
	return nil
}

// texts is one text, or a list of them.
type texts struct {
	given
	values []string
}

func (t *texts) take(n *yaml.Node, key string) *Error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	if len(items) == 0 {
		return placeOf(n).errorf("%s is an empty list; leave the key out, or name one at least", key)
	}
	for _, item := range items {
		var one text
		if e := one.take(item, key); e != nil {
			return e
		}
		t.values = append(t.values, one.value)
	}
	t.given = given{placeOf(n)}
	return nil
}

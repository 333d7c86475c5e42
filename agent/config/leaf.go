package config

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/rollcallhq/rollcall/internal/duration"
)

// given is the place of a value that the file has; the zero given is that of one it does not have.
type given struct{ place }

func (g given) ok() bool { return g.line > 0 }

// placed is embedded by a mapping that keeps its place.
type placed struct{ place }

func (p *placed) setPlace(at place) { p.place = at }

// scalar returns the text of a value as it stands in the file, without quotes.
func scalar(n ast.Node, key string) (string, given, error) {
	if n == nil || n.Type() == ast.NullType {
		return "", given{}, placeOf(n).errorf("%s has no value", key)
	}
	if l, ok := n.(*ast.LiteralNode); ok { // a block of text
		return l.Value.Value, given{placeOf(n)}, nil
	}
	if _, ok := n.(ast.ScalarNode); !ok {
		return "", given{}, placeOf(n).errorf("%s must be one value", key)
	}
	return n.GetToken().Value, given{placeOf(n)}, nil
}

type text struct {
	given
	value string
}

func (t *text) take(n ast.Node, key string) (err error) {
	if t.value, t.given, err = scalar(n, key); err == nil && strings.TrimSpace(t.value) == "" {
		return t.errorf("%s is empty; give it a value, or leave the key out", key)
	}
	return err
}

// argument is a text that may be empty.
type argument struct {
	given
	value string
}

func (t *argument) take(n ast.Node, key string) (err error) {
	t.value, t.given, err = scalar(n, key)
	return err
}

// span is a duration above zero.
type span struct {
	given
	value time.Duration
}

func (s *span) take(n ast.Node, key string) error {
	t, at, err := scalar(n, key)
	if err != nil {
		return err
	}
	s.given = at
	if s.value, err = duration.Parse(t); err != nil {
		return at.errorf("%s: %v", key, err)
	}
	if s.value <= 0 {
		return at.errorf("%s is %s; it must be more than 0", key, t)
	}
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

func (c *count) take(n ast.Node, key string) error {
	t, at, err := scalar(n, key)
	if err != nil {
		return err
	}
	v, err := strconv.ParseInt(t, 10, 32)
	if err != nil || v < 1 {
		return at.errorf("%s is %q; it must be a whole number from 1 on", key, t)
	}
	c.given, c.value = at, int(v)
	return nil
}

type number struct {
	given
	value float64
}

func (f *number) take(n ast.Node, key string) error {
	t, at, err := scalar(n, key)
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return at.errorf("%s is %q; it must be a number, 0 or more", key, t)
	}
	f.given, f.value = at, v
	return nil
}

type boolean struct {
	given
	value bool
}

func (b *boolean) take(n ast.Node, key string) error {
	t, at, err := scalar(n, key)
	if err != nil {
		return err
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

func (s *size) take(n ast.Node, key string) error {
	t, at, err := scalar(n, key)
	if err != nil {
		return err
	}
	amount, factor := t, uint64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(t, unit); ok {
			amount, factor = strings.TrimSpace(rest), 1<<(10*(i+1))
		}
	}
	v, err := strconv.ParseUint(amount, 10, 64)
	if err != nil || v > math.MaxInt64/factor {
		return at.errorf("%s is %q; use a number of bytes, or one with KiB, MiB, GiB or TiB", key, t)
	}
	s.given, s.value = at, v*factor
	return nil
}

type pair struct {
	place
	name  string
	value argument
}

type pairs []pair

// codes is one number, or a list of numbers.
type codes struct {
	given
	values []int
}

func (c *codes) take(n ast.Node, key string) error {
	items := []ast.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		items = list.Values
	}
	if len(items) == 0 {
		return placeOf(n).errorf("%s is an empty list", key)
	}
	c.given = given{placeOf(n)}
	for _, item := range items {
		var one count
		if err := one.take(item, key); err != nil {
			return err
		}
		c.values = append(c.values, one.value)
	}
	return nil
}

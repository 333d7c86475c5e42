package cliflag

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a flag for an amount of memory: a number of bytes, or one with KiB, MiB or GiB.
func Bytes(to *int64) *BytesValue { return (*BytesValue)(to) }

// BytesValue is the value of such a flag.
type BytesValue int64

var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// Set implements pflag.Value.
func (b *BytesValue) Set(s string) error {
	given, factor := s, int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = strings.TrimSpace(number), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is no amount of memory; use a number of bytes, or one with KiB, MiB or GiB, as 768MiB", given)
	}
	*b = BytesValue(n * factor)
	return nil
}

// String implements pflag.Value.
func (b *BytesValue) String() string {
	for _, u := range units {
		if n := int64(*b); n > 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type implements pflag.Value.
func (*BytesValue) Type() string { return "bytes" }

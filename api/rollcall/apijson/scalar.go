package apijson

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// appendTime writes t as RFC 3339 in UTC, with all its digits.
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendSeconds writes d as a number of seconds, without zeros at its end.
func appendSeconds(b []byte, d time.Duration) []byte {
	nanoseconds := uint64(d)
	if d < 0 {
		b = append(b, '-')
		nanoseconds = -nanoseconds // as an unsigned number: the least duration has no positive one
	}
	b = strconv.AppendUint(b, nanoseconds/1e9, 10)
	rest := nanoseconds % 1e9
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := uint64(1e8); rest > 0; unit /= 10 {
		b = append(b, '0'+byte(rest/unit))
		rest %= unit
	}
	return b
}

// appendText writes s as encoding/json does that leaves <, > and & readable.
func appendText(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	begin := 0 // of what is not written yet
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[begin:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, `\b`...)
			case '\f':
				b = append(b, `\f`...)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			default:
				b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
			i++
			begin = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		escape := ""
		switch {
		case r == utf8.RuneError && size == 1:
			escape = `\ufffd`
		case r == '\u2028': // JavaScript once took these two for line ends
			escape = `\u2028`
		case r == '\u2029':
			escape = `\u2029`
		}
		if escape != "" {
			b = append(append(b, s[begin:i]...), escape...)
			begin = i + size
		}
		i += size
	}
	return append(append(b, s[begin:]...), '"')
}

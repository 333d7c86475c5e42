package apijson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// wellFormed says what is wrong with data as JSON in UTF-8, whatever it means; nil if nothing is.
func wellFormed(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return &Error{Message: "the request is empty; send a JSON object, {} if it needs nothing"}
	}
	var (
		object json.RawMessage
		wrong  *json.SyntaxError
	)
	d := json.NewDecoder(bytes.NewReader(data))
	switch err := d.Decode(&object); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Message: "the JSON ends too early"}
	case errors.As(err, &wrong):
		return misplaced(data, int(wrong.Offset)-1)
	case err != nil:
		return &Error{Message: "this is no JSON"}
	}
	if rest := bytes.TrimLeft(data[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return misplaced(data, len(data)-len(rest))
	}
	if utf8.Valid(data) {
		return loneSurrogate(data)
	}
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return &Error{Message: "the JSON is not UTF-8 at " + place(data, at)}
		}
		at += size
	}
	return nil
}

func misplaced(data []byte, at int) error {
	at = min(max(at, 0), len(data)-1)
	c, _ := utf8.DecodeRune(data[at:])
	return &Error{Message: fmt.Sprintf("this is no JSON: %s does not belong at %s", strconv.QuoteRune(c), place(data, at))}
}

// place says in words where a byte of data stands.
func place(data []byte, at int) string {
	before := data[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// loneSurrogate refuses \ud800 without its other half, of which no text can be made.
func loneSurrogate(data []byte) error {
	half := func(at int) (uint64, bool) { // \uXXXX at this place
		if at+6 > len(data) || data[at] != '\\' || data[at+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(data[at+2:at+6]), 16, 32)
		return n, err == nil
	}
	for at := 0; ; {
		next := bytes.IndexByte(data[at:], '\\') // stands in texts alone
		if next < 0 {
			return nil
		}
		at += next
		n, ok := half(at)
		switch {
		case !ok:
			at += 2
		case n < 0xd800 || n > 0xdfff:
			at += 6
		default:
			low, ok := half(at + 6)
			if n >= 0xdc00 || !ok || low < 0xdc00 || low > 0xdfff {
				return &Error{Message: fmt.Sprintf("%s at %s is half a character", data[at:at+6], place(data, at))}
			}
			at += 12
		}
	}
}

// reader goes through JSON that is well formed.
type reader struct {
	data []byte
	at   int
	// elements are the values of lists that have been read.
	elements int
}

// next returns the byte that the next value, or the end of an object or list, begins with.
func (r *reader) next() byte {
	for {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return c
		}
	}
}

// open goes into an object or list, and reports whether there is something in it.
func (r *reader) open() bool {
	r.next()
	r.at++
	if c := r.next(); c == '}' || c == ']' {
		r.at++
		return false
	}
	return true
}

// more goes on after a value in an object or list, and reports whether another one follows.
func (r *reader) more() bool {
	c := r.next()
	r.at++
	return c == ','
}

// colon goes over the one between a name and its value.
func (r *reader) colon() {
	r.next()
	r.at++
}

// literal reads a number, true, false or null.
func (r *reader) literal() string {
	r.next()
	begin := r.at
	for r.at < len(r.data) && !bytes.ContainsRune([]byte(" \t\r\n,]}"), rune(r.data[r.at])) {
		r.at++
	}
	return string(r.data[begin:r.at])
}

// text reads a text.
func (r *reader) text() string {
	r.next()
	begin, escaped := r.at, false
	for r.at++; r.data[r.at] != '"'; r.at++ {
		if r.data[r.at] == '\\' {
			escaped = true
			r.at++
		}
	}
	r.at++
	if !escaped {
		return string(r.data[begin+1 : r.at-1])
	}
	var s string
	if err := json.Unmarshal(r.data[begin:r.at], &s); err != nil {
		panic("apijson: a text that was well formed is not: " + err.Error())
	}
	return s
}

// kind says in words what the next value is.
func (r *reader) kind() string {
	switch r.next() {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

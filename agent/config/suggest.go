package config

import (
	"reflect"
	"slices"
	"strings"
)

// unknownKey says that a mapping has a key that the schema does not have there, and which one may be meant.
func unknownKey(at place, name string, where reflect.Type) *Error {
	keys := keysOf(where)
	if meant := nearest(name, keys); meant != "" {
		return at.errorf("unknown key %q; did you mean %s?", name, meant)
	}
	if paths := pathsOf(name, reflect.TypeFor[fileLayout](), ""); len(paths) > 0 && len(paths) <= 3 {
		return at.errorf("unknown key %q; it belongs to %s; here stand %s", name, oneOf(paths), oneOf(keys))
	}
	return at.errorf("unknown key %q; here stand %s", name, oneOf(keys))
}

// nearest returns the one of some words that a mistyped word is nearest to; "" if none is near.
func nearest(word string, words []string) (best string) {
	if len(word) > 64 {
		return ""
	}
	word = plainKey(word)
	near := 1 + len(word)/4
	for _, w := range words {
		if d := distance(word, w); d <= near && d < len(w) {
			best, near = w, d-1
		}
	}
	return best
}

// plainKey writes a key as those of the schema are written: maxAge and max-age as max_age.
func plainKey(word string) string {
	var b strings.Builder
	for i, r := range word {
		switch {
		case r == '-' || r == ' ':
			r = '_'
		case 'A' <= r && r <= 'Z':
			if i > 0 && 'a' <= word[i-1] && word[i-1] <= 'z' {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// distance is how many characters must be put in, left out, changed or swapped to make b of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		two, one, row := rows[0], rows[1], rows[2]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(one[j]+cost, one[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
		rows = [3][]int{one, row, two}
	}
	return rows[1][len(b)]
}

// pathsOf returns where the schema has a key, as services[].checks[].http.
func pathsOf(key string, t reflect.Type, path string) (paths []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			path += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[leaf]()) {
		return nil
	}
	keys := keysOf(t)
	if path != "" && slices.Contains(keys, key) {
		paths = append(paths, path)
	}
	for _, k := range keys {
		index, _ := fieldOf(t, k)
		under := k
		if path != "" {
			under = path + "." + k
		}
		paths = append(paths, pathsOf(key, t.FieldByIndex(index).Type, under)...)
	}
	return paths
}

package openapitest

import (
	"fmt"
	"maps"
	"slices"
)

// counts says in how many objects of a schema a property was, and in how many it was not.
type counts struct {
	there, absent int
	required      bool
}

func (d *Document) note(name string, s *schema, value map[string]any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range s.Properties {
		of := name + "." + key
		c := d.seen[of]
		if c == nil {
			c = &counts{required: slices.Contains(s.Required, key)}
			d.seen[of] = c
		}
		if _, ok := value[key]; ok {
			c.there++
		} else {
			c.absent++
		}
	}
}

// Vague returns where the document says less than what Validate has seen: a property that never was in an object, and
// one that always was and is not required.
func (d *Document) Vague() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, of := range slices.Sorted(maps.Keys(d.seen)) {
		switch c := d.seen[of]; {
		case c.there == 0:
			all = append(all, fmt.Sprintf("%s is in none of %d objects", of, c.absent))
		case c.absent == 0 && !c.required:
			all = append(all, fmt.Sprintf("%s is in all of %d objects, and is not required", of, c.there))
		}
	}
	return all
}

package cliflag

import (
	"strings"
	"testing"
	"time"
)

// zone is two hours ahead of UTC.
var zone = time.FixedZone("here", 2*60*60)

func TestPointsInTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 15, 500, zone)
	day := func(d, h, m, s int) time.Time { return time.Date(2026, 11, d, h, m, s, 0, zone) }
	for in, want := range map[string]PointInTime{
		"0":                         {revision: 0},
		"42":                        {revision: 42},
		"2026":                      {revision: 2026},
		"9223372036854775807":       {revision: 1<<63 - 1},
		"2026-11-22T03:12:00Z":      {time: day(22, 5, 12, 0)},
		"2026-11-22T03:12:00+02:00": {time: day(22, 3, 12, 0)},
		"2026-11-22T03:12:00.25Z":   {time: day(22, 5, 12, 0).Add(250 * time.Millisecond)},
		"2026-11-21 03:12":          {time: day(21, 3, 12, 0)},
		"2026-11-21 03:12:09":       {time: day(21, 3, 12, 9)},
		"2026-11-21 03:12:09.5":     {time: day(21, 3, 12, 9).Add(500 * time.Millisecond)},
		"2026-11-21T03:12":          {time: day(21, 3, 12, 0)},
		"2026-11-21T03:12:09":       {time: day(21, 3, 12, 9)},
		"2026-11-21":                {time: day(21, 0, 0, 0)},
		"2026-12-24 00:00":          {time: time.Date(2026, 12, 24, 0, 0, 0, 0, zone)}, // not come yet: the node says now
		"03:12":                     {time: day(22, 3, 12, 0)},
		"03:12:09":                  {time: day(22, 3, 12, 9)},
		"12:30:15":                  {time: day(22, 12, 30, 15)},
		"12:30:16":                  {time: day(21, 12, 30, 16)},
		"23:59":                     {time: day(21, 23, 59, 0)},
		"00:00":                     {time: day(22, 0, 0, 0)},
		"10m":                       {time: now.Add(-10 * time.Minute)},
		"-10m":                      {time: now.Add(-10 * time.Minute)},
		"10m ago":                   {time: now.Add(-10 * time.Minute)},
		"10mago":                    {time: now.Add(-10 * time.Minute)},
		"1h30m":                     {time: now.Add(-90 * time.Minute)},
		"0s":                        {time: now},
		"7d":                        {time: now.Add(-7 * 24 * time.Hour)},
		"-1d12h":                    {time: now.Add(-36 * time.Hour)},
		"1d12h ago":                 {time: now.Add(-36 * time.Hour)},
	} {
		revision, at, err := parsePointInTime(in, now)
		if err != nil || revision != want.revision || !at.Equal(want.time) {
			t.Errorf("%q: %d %v %v, want %d %v", in, revision, at, err, want.revision, want.time)
		}
	}
	// Yesterday's may be in the month before.
	first := time.Date(2026, 3, 1, 1, 0, 0, 0, zone)
	if _, got, err := parsePointInTime("02:00", first); err != nil || !got.Equal(time.Date(2026, 2, 28, 2, 0, 0, 0, zone)) {
		t.Errorf("%v %v", got, err)
	}
}

func TestWhatIsNoPointInTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 15, 0, zone)
	for _, in := range []string{
		"", " ", "-", "ago", "-5", "+5m", "--5m", "-10m ago", "10", "10 ago", "5x", "d", "-d", "1.5d", "7d-3h", "7d7d",
		"yesterday", "25:00", "12:60", "12:30:61", "2026-13-01 00:00", "2026-11-22 24:00", "2026-11-22T03:12:00 Z", "03:12Z",
	} {
		if got, err := parseTime(in, now); err == nil {
			t.Errorf("%q is read as %v", in, got)
		} else if !strings.Contains(err.Error(), TimeForms) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", in, err)
		}
		if in == "10" {
			continue
		}
		if revision, got, err := parsePointInTime(in, now); err == nil {
			t.Errorf("%q is read as %d %v", in, revision, got)
		} else if !strings.Contains(err.Error(), "use a revision, "+TimeForms) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for _, in := range []string{
		"0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01", "1677-09-21T00:12:43Z", "1600-02-29 12:00", "2262-04-11T23:47:17Z", "9999-12-31",
		"9999-12-31T23:59:59-12:00", "999999d", "100000d2000000h", "999999999999w ago", "3000000h", "-999999d",
	} {
		const want = "is too far away: it must be from 1678 to 2262"
		if revision, got, err := parsePointInTime(in, now); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q is read as %d %v: %v", in, revision, got, err)
		}
		f := Time{Now: func() time.Time { return now }}
		if err := f.Set(in); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q is read as %v: %v", in, f.Time, err)
		}
	}
	f := Time{Now: func() time.Time { return now }}
	if err := f.Set("99999999999999999999"); err == nil || !strings.Contains(err.Error(), "is a revision") {
		t.Error(err)
	}
	if _, _, err := parsePointInTime("9223372036854775808", now); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
}

func FuzzPointInTime(f *testing.F) {
	now := time.Date(2026, 11, 22, 12, 30, 15, 0, zone)
	for _, s := range []string{"42", "10m ago", "7d", "03:12", "2026-11-22T03:12:00Z", "-1d12h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		revision, at, err := parsePointInTime(s, now)
		if err != nil {
			return
		}
		if revision < 0 || (revision != 0 && !at.IsZero()) {
			t.Errorf("%q: %d %v", s, revision, at)
		}
		if d, err := parseAgo(s); err == nil && (d < 0 || at.After(now)) {
			t.Errorf("%q: %v is not ago", s, d)
		}
	})
}

package store

import (
	"runtime"
	"sync"

	"go.etcd.io/bbolt"
)

// keyValue is a record where it stands: in the mapped file, for as long as its transaction is open.
type keyValue struct{ key, value []byte }

const (
	// partRecords is how many records are handed to a goroutine at once: enough that handing over costs
	// nothing, few enough that the goroutines end at about the same time.
	partRecords = 1024
	// maxReaders bounds the goroutines that read a file at once.
	maxReaders = 8
)

// inParts visits all of a bucket on as many goroutines as there are processors. One walks through the
// bucket, and requires that keys ascend and hold values; the others are given what it passes, as
// numbered parts, with the bucket as of a transaction of their own: one is not for several goroutines.
// Nobody may write to db meanwhile, so that all of them are of one moment.
//
// The error is that of the first part that has one, as if the bucket had been visited in order.
func inParts(db *bolt, tx *bbolt.Tx, name []byte, visit func(own *bbolt.Bucket, number int, records []keyValue) error) error {
	var (
		readers = min(runtime.GOMAXPROCS(0), maxReaders)
		parts   = make(chan part, readers) // so that the walker need not wait for each to be taken
		ended   = make(chan struct{})      // closed with the first error
		end     = sync.OnceFunc(func() { close(ended) })
		reading sync.WaitGroup

		mu     sync.Mutex // guards first and failed
		first  int        // the part that failed is of
		failed error
	)
	fail := func(number int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil || number < first {
			first, failed = number, err
		}
		end()
	}
	for range readers {
		reading.Go(func() {
			next := 0 // no part that this goroutine has not ended is before it
			err := guard(func() error {
				return db.View(func(own *bbolt.Tx) error {
					bucket := own.Bucket(name)
					for p := range parts {
						next = p.number
						if err := visit(bucket, p.number, p.records); err != nil {
							return err
						}
					}
					return nil
				})
			})
			if err != nil {
				fail(next, err)
			}
		})
	}
	number, walkErr := walkParts(tx.Bucket(name), parts, ended)
	close(parts)
	reading.Wait()
	if walkErr != nil {
		fail(number, walkErr)
	}
	return failed
}

// part is a run of neighbouring records.
type part struct {
	number  int
	records []keyValue
}

// walkParts sends all of a bucket to parts until ended is closed. An error is of what follows the parts
// before the number that it returns.
func walkParts(bucket *bbolt.Bucket, parts chan<- part, ended <-chan struct{}) (number int, err error) {
	var (
		records = make([]keyValue, 0, partRecords)
		last    []byte
	)
	send := func() bool {
		select {
		case parts <- part{number, records}:
			number++
			records = make([]keyValue, 0, partRecords)
			return true
		case <-ended:
			return false
		}
	}
	err = guard(func() error {
		c := bucket.Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if err := follows(last, key, value); err != nil {
				return err
			}
			last = key
			if records = append(records, keyValue{key, value}); len(records) == partRecords && !send() {
				return nil
			}
		}
		return nil
	})
	if len(records) > 0 {
		send() // also what is before an error
	}
	return number, err
}

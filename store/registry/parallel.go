package registry

import (
	"bytes"
	"runtime"
	"sync"
	"unsafe"

	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/boltfile"
)

// keyValue is a record in the mapped file. It may be read as long as the transaction is open.
type keyValue struct{ key, value []byte }

// after says whether r stands in the file directly behind o, the record before it in the tree. If so it is
// not the first record of its page, because a page begins with a header.
func (r keyValue) after(o keyValue) bool {
	return len(o.value) > 0 && uintptr(unsafe.Pointer(unsafe.SliceData(o.value)))+uintptr(len(o.value)) == uintptr(unsafe.Pointer(unsafe.SliceData(r.key)))
}

// findAll checks that a search finds each of records. It uses a cursor where it can, which is quicker than
// Bucket.Get. For the first record of a page a cursor would not do: it goes on to the next page when a search
// ends behind the last record of a page, and so hides the error.
func findAll(bucket *bbolt.Bucket, records []keyValue) error {
	c := bucket.Cursor()
	var before keyValue
	for _, r := range records {
		if r.after(before) {
			if key, value := c.Seek(r.key); !bytes.Equal(key, r.key) || !bytes.Equal(value, r.value) {
				return boltfile.NotFound(r.key)
			}
		} else if err := boltfile.CheckFound(bucket, r.key, r.value); err != nil {
			return err
		}
		before = r
	}
	return nil
}

const (
	// partRecords is how many records are handed to a goroutine at once: enough that handing over costs
	// nothing, few enough that the goroutines end at about the same time.
	partRecords = 1024
	// maxReaders bounds the goroutines that read a file at once.
	maxReaders = 8
)

// inParts visits all records of a bucket on as many goroutines as there are processors. The calling goroutine
// walks through the bucket, checks that keys ascend and have values, and sends the records to the others in
// numbered parts. Each of the others has a transaction of its own, because a transaction is not safe for
// several goroutines. Nobody may write to db meanwhile, so that all transactions show the same content.
//
// The error is that of the first part with an error, as if the bucket had been visited in order.
func inParts(db *boltfile.DB, tx *bbolt.Tx, name []byte, visit func(own *bbolt.Bucket, number int, records []keyValue) error) error {
	var (
		readers = min(runtime.GOMAXPROCS(0), maxReaders)
		parts   = make(chan part, readers) // so that walkParts need not wait until each part is taken
		ended   = make(chan struct{})      // closed with the first error
		end     = sync.OnceFunc(func() { close(ended) })
		reading sync.WaitGroup

		mu     sync.Mutex // guards first and failed
		first  int        // the number of the part that failed came from
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
			next := 0 // the number of the part that this goroutine visits
			err := boltfile.Guard(func() error {
				return db.View(func(own *bbolt.Tx) error {
					bucket := own.Bucket(name)
					for p := range parts {
						next = p.number
						if err := visit(bucket, p.number, *p.records); err != nil {
							return err
						}
						partPool.Put(p.records)
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
	records *[]keyValue // of partPool
}

var partPool = sync.Pool{New: func() any {
	records := make([]keyValue, 0, partRecords)
	return &records
}}

func newPart() *[]keyValue {
	records := partPool.Get().(*[]keyValue)
	*records = (*records)[:0]
	return records
}

// walkParts sends all records of a bucket to parts, until ended is closed. With an error it returns the
// number of the part in which the error is.
func walkParts(bucket *bbolt.Bucket, parts chan<- part, ended <-chan struct{}) (number int, err error) {
	var (
		records = newPart()
		last    []byte
	)
	send := func() bool {
		select {
		case parts <- part{number, records}:
			number++
			records = newPart()
			return true
		case <-ended:
			return false
		}
	}
	err = boltfile.Guard(func() error {
		c := bucket.Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if err := boltfile.CheckOrder(last, key, value); err != nil {
				return err
			}
			last = key
			if *records = append(*records, keyValue{key, value}); len(*records) == partRecords && !send() {
				return nil
			}
		}
		return nil
	})
	if len(*records) > 0 {
		send() // also the records before the error
	}
	return number, err
}

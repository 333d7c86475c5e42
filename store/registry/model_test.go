package registry

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// TestRegistryFileModel drives a registry file by random operations beside a model of maps.
func TestRegistryFileModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		path, err := os.MkdirTemp(fastDir(), "registry-model-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(path)
		d := openDisk(t, path, lazy)
		defer func() { d.close() }()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		empty := storetest.Content{Meta: &logv1.RegistryMeta{Format: logv1.RegistryFormat, Horizon: 1}}
		appended, durable := empty, empty
		var (
			stream     []byte
			streamed   storetest.Content
			nextIndex  uint64 = 1
			appendSome        = func(rt *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(rt, "n") {
					delta := randomDelta(rng, nextIndex)
					nextIndex++
					appended = apply(appended, delta)
					d.registryFile.Append(delta)
				}
			}
		)
		equal := func(rt *rapid.T, want storetest.Content) {
			have, err := storetest.LoadContent(d.registryFile)
			if err == nil {
				err = storetest.Differ(have, want)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": appendSome,
			"flush": func(rt *rapid.T) {
				if err := d.registryFile.Flush(context.Background()); err != nil {
					rt.Fatal(err)
				}
				durable = appended
			},
			"reopen": func(*rapid.T) {
				d.close()
				d = openDisk(t, path, lazy)
				durable = appended
			},
			"crash": func(*rapid.T) {
				image := path + "-image"
				storetest.CopyDir(t, path, image)
				d.close()
				os.RemoveAll(path)
				if err := os.Rename(image, path); err != nil {
					t.Fatal(err)
				}
				d = openDisk(t, path, lazy)
				appended = durable
				nextIndex = appended.Meta.GetIndex() + 1
			},
			"snapshot": func(*rapid.T) {
				stream = d.stream()
				streamed, durable = appended, appended
			},
			"replace": func(rt *rapid.T) {
				if stream == nil {
					rt.Skip("no snapshot yet")
				}
				if err := d.registryFile.Replace(bytes.NewReader(stream)); err != nil {
					rt.Fatal(err)
				}
				appended, durable = streamed, streamed
				nextIndex = appended.Meta.GetIndex() + 1
			},
			"": func(rt *rapid.T) { equal(rt, durable) },
		})
		d.failures.None(t)
	})
}

// fastDir is where fsync costs nothing, if there is such a place: the model opens thousands of files.
func fastDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

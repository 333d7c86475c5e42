// Package browsertest_test looks at the page of real nodes with a real browser.
//
// main_test.go builds the program and finds Chromium; node_test.go runs nodes and cluster_test.go several of them;
// fixture_test.go fills them; page_test.go is a tab: it opens, waits, clicks, types and takes pictures, and fails the test
// if the page wrote an error, broke its content security policy, or asked anybody but its node.
//
// scenes_test.go has the table of all views and dialogs. Each file that tests a part of the page adds its scenes to it:
// each scene is shown at 1, 1,000 and 100,000 services, in light and dark and on a narrow screen, a picture of it is kept,
// and axe-core looks at it (axe_test.go). What a scene does not say, tests of behaviour do.
//
//	go test ./...                                     in this directory: everything but what measures
//	go test -run TestScenes -args -pictures DIR       pictures into DIR; without the flag into a temporary directory
//	go test -args -rollcall PATH                      with a program that is built already
//	go test -run TestPerformance -timeout 1h -args -performance
package browsertest_test

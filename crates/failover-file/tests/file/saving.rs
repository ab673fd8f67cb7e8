//! The ways in which files are saved.

use super::*;

/// Runs a way of saving ten times, and checks that each text is seen, and no other.
async fn is_seen(way: &str, save: impl Fn(&Path, &str)) {
    let (_directory, path) = place("services.toml");
    fs::write(&path, listing(&["10.0.0.1:80"])).expect("it is written");
    let (_manager, users) = watching(&path).await;
    for number in 2..12 {
        let address = format!("10.0.0.{number}:80");
        save(&path, &listing(&["10.0.0.1:80", &address]));
        let after = until(way, || {
            ids(&users) == ["10.0.0.1:80", address.as_str()]
                || ids(&users) == [address.as_str(), "10.0.0.1:80"]
        })
        .await;
        assert!(after < Duration::from_secs(3), "{way}: {after:?}, which is the interval and no event");
    }
}

#[tokio::test]
async fn every_way_of_saving_is_seen_at_once() {
    is_seen("in place", |path, text| fs::write(path, text).expect("it is written")).await;
    is_seen("by replacement", |path, text| {
        let new = path.with_extension("new");
        fs::write(&new, text).expect("it is written");
        fs::rename(&new, path).expect("it is renamed");
    })
    .await;
    is_seen("as vim does, with a backup", |path, text| {
        let backup = path.with_extension("toml~");
        fs::rename(path, &backup).expect("it is renamed");
        fs::write(path, text).expect("it is written");
        fs::remove_file(&backup).expect("it is removed");
    })
    .await;
    is_seen("by deletion and creation", |path, text| {
        fs::remove_file(path).expect("it is removed");
        fs::write(path, text).expect("it is written");
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_swap_of_a_config_map_is_seen_at_once() {
    use std::os::unix::fs::symlink;
    let (directory, path) = place("services.toml");
    let directory = directory.path();
    let write = |version: &str, text: &str| {
        fs::create_dir(directory.join(version)).expect("a directory");
        fs::write(directory.join(version).join("services.toml"), text).expect("it is written");
        let new = directory.join("..data_tmp");
        symlink(version, &new).expect("a link");
        fs::rename(new, directory.join("..data")).expect("it is renamed");
    };
    write("..v1", &listing(&["10.0.0.1:80"]));
    symlink("..data/services.toml", &path).expect("a link");
    let (_manager, users) = watching(&path).await;
    assert_eq!(ids(&users), ["10.0.0.1:80"]);
    write("..v2", &listing(&["10.0.0.1:80", "10.0.0.2:80"]));
    let after = until("the swap", || ids(&users).len() == 2).await;
    assert!(after < Duration::from_secs(3), "{after:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_change_that_no_event_tells_is_found_at_the_next_interval() {
    use std::os::unix::fs::symlink;
    let (directory, _) = place("unused");
    let directory = directory.path();
    for (version, addresses) in [("one", &["10.0.0.1:80"][..]), ("two", &["10.0.0.1:80", "10.0.0.2:80"])] {
        fs::create_dir(directory.join(version)).expect("a directory");
        fs::write(directory.join(version).join("services.toml"), listing(addresses)).expect("it is written");
    }
    // The directory that is watched is the one that the link pointed to.
    let link = directory.join("current");
    symlink("one", &link).expect("a link");
    let provider =
        FileProvider::builder(link.join("services.toml")).poll_interval(Duration::from_millis(300));
    let provider = provider.build().expect("a known ending");
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    assert_eq!(ids(&users).len(), 1);
    fs::remove_file(&link).expect("it is removed");
    symlink("two", &link).expect("a link");
    until("the other directory's file", || ids(&users).len() == 2).await;
}

#[tokio::test]
async fn a_file_that_is_written_slowly_costs_no_endpoint() {
    // Whatever part of the list is written is valid, too.
    let (_directory, path) = place("services.yaml");
    let addresses = (1..=200).map(|number| format!("    - http://10.0.0.{number}:80\n"));
    let text = format!("services:\n  users:\n{}", addresses.collect::<String>());
    fs::write(&path, &text).expect("it is written");
    let (_manager, users) = watching(&path).await;
    assert_eq!(ids(&users).len(), 200);
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for _ in 0..3 {
            let mut file = fs::File::create(&path).expect("it is truncated");
            for part in text.as_bytes().chunks(text.len() / 20) {
                file.write_all(part).expect("it is written");
                file.flush().expect("it is written");
                std::thread::sleep(Duration::from_millis(10));
                longest = longest.max(std::mem::replace(&mut last, Instant::now()).elapsed());
            }
        }
        longest
    });
    let mut fewest = 200;
    while !writer.is_finished() {
        fewest = fewest.min(ids(&users).len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let longest = writer.join().expect("no panic");
    // A writer that a busy machine stops for longer than the reads are apart has written a shorter list.
    assert!(
        fewest == 200 || longest > Duration::from_millis(90),
        "{fewest} after pauses of up to {longest:?}"
    );
    until("it is fresh", || !users.is_stale()).await;
    assert_eq!(ids(&users).len(), 200);
}

#[tokio::test]
async fn a_file_that_comes_later_is_found() {
    let (_directory, path) = place("services.toml");
    let (_manager, users) = watching(&path).await;
    let error = users.select().expect_err("there is no file").to_string();
    assert!(error.contains("No such file"), "{error}");
    fs::write(&path, listing(&["10.0.0.1:80"])).expect("it is written");
    until("the file", || ids(&users) == ["10.0.0.1:80"]).await;
}

# weft_llhttp(): a static library of that name, llhttp compiled from the three C
# files and the header that Debian's node-llhttp puts below /usr/share. The code
# is generated and not ours, so it is compiled without our warnings. Whoever
# asks second gets the same library.
#
# Strict: a line ends with CR LF and a URL is ASCII. What a lenient parser lets
# pass is what two servers in a row may read differently.

function(weft_llhttp)
    if(TARGET weft_llhttp)
        return()
    endif()
    find_path(LLHTTP_INCLUDE_DIR llhttp.h
              HINTS /usr/share/include/llhttp /usr/include/llhttp)
    find_path(LLHTTP_SOURCE_DIR NAMES llhttp.c HINTS /usr/share/llhttp)
    if(NOT LLHTTP_INCLUDE_DIR OR NOT LLHTTP_SOURCE_DIR)
        message(FATAL_ERROR "The HTTP servers want llhttp: install node-llhttp "
                "or configure with -DWEFT_BUILD_EXAMPLES=OFF "
                "-DWEFT_BUILD_BENCH=OFF.")
    endif()
    add_library(weft_llhttp STATIC
                "${LLHTTP_SOURCE_DIR}/api.c"
                "${LLHTTP_SOURCE_DIR}/http.c"
                "${LLHTTP_SOURCE_DIR}/llhttp.c")
    target_include_directories(weft_llhttp SYSTEM PUBLIC
                               "${LLHTTP_INCLUDE_DIR}")
    target_compile_definitions(weft_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
    target_compile_options(weft_llhttp PRIVATE -w ${sanitize})
    set_target_properties(weft_llhttp PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
